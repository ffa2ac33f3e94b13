// Package config turns a runner's plugin_config into a Config: every value
// checked, every default filled in, every mistake reported at once. A section of
// the file has a Go file, named after it, with a table of its keys (section.go):
// all that is known about a key is there. fleetingd's older keys (fleetingd.go)
// live here too, and finding plugin_config in GitLab Runner's own config.toml
// (runner.go).
//
// What the values lead to does not live here: nothing in this package starts,
// creates or probes anything, except that a local image must be readable and
// that symbolic links to the state directory are followed.
package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// defaultUser is the account that jobs log in to when the runner's
// connector_config names none.
const defaultUser = "mayfly"

// Config is a checked plugin_config.
type Config struct {
	// Pool names the workers of this runner. Two runners on one host need
	// two names, because <StateDir>/pools/<Pool> belongs to one plugin process.
	Pool string
	// Backend is one of the Backend names above.
	Backend string
	// StateDir is the absolute path below which everything is kept that
	// outlives a plugin process.
	StateDir string
	Image    Image
	Machine  Machine
	Network  Network
	Fork     Fork
	Nspawn   Nspawn
	Host     Host
	Hold     Hold
	Metrics  Metrics
	Tracing  Tracing
	Tart     Tart
	Bhyve    Bhyve
	// Synthetic is for that backend only.
	Synthetic Synthetic
	// CloudHypervisor is for that backend only.
	CloudHypervisor CloudHypervisor
}

// sections are the tables of plugin_config, in the order in which a reader meets
// them, with c as what their values go into.
func (c *Config) sections() []section {
	return []section{
		poolSection(c), imageSection(c), machineSection(c), networkSection(c), forkSection(c), hostSection(c),
		holdSection(c), metricsSection(c), tracingSection(c),
		nspawnSection(c), cloudHypervisorSection(c), tartSection(c), bhyveSection(c), syntheticSection(c),
	}
}

// Default is the Config of an empty plugin_config.
func Default() Config {
	var c Config
	var mistakes Errors
	for _, s := range c.sections() {
		for _, k := range s.keys {
			if k.fallback == "" {
				continue
			}
			value, err := decode([]byte(k.fallback))
			if err != nil {
				mistakes.add(s.path(k), "not a value: %v", err)
			}
			k.value.read(&mistakes, given{s.path(k), value}, k.fallback)
		}
	}
	if len(mistakes) > 0 {
		panic(fmt.Sprintf("config: a default is wrong: %v", mistakes))
	}
	return c
}

var _ json.Marshaler = Config{}

// MarshalJSON writes a plugin_config from which Parse reads the same Config,
// for those who start the plugin with a configuration that they changed. What
// has no word for its default, such as the host's own resolvers, is left out.
func (c Config) MarshalJSON() ([]byte, error) {
	all := make(map[string]any)
	for _, s := range c.sections() {
		table := all
		if s.name != "" {
			table = make(map[string]any)
			all[s.name] = table
		}
		for _, k := range s.keys {
			if k.fallback != "" || !k.value.zero() {
				table[k.name] = k.value.write()
			}
		}
	}
	return json.Marshal(all)
}

// With returns the configuration after a change, checked as a whole: what is
// right alone may be wrong beside the rest. The pool may be a command's own.
func (c Config) With(change func(*Config)) (Config, error) {
	change(&c)
	text, err := json.Marshal(c)
	if err != nil {
		return Config{}, fmt.Errorf("writing plugin_config: %w", err)
	}
	return parse(text)
}

// Recipe is the image that the configuration asks for, with user as the
// account that jobs log in to; when that is empty it is defaultUser, or the
// account that the image has. The binaries to copy in are not configuration: the
// wiring adds them.
func (c Config) Recipe(user string) image.Recipe {
	if user == "" {
		users := map[string]string{BackendTart: c.Tart.User, BackendBhyve: c.Bhyve.User}
		user = cmp.Or(users[c.foreign()], defaultUser)
	}
	return image.Recipe{
		Source:    c.Image.Source,
		Packages:  c.packages(),
		Kernel:    c.Image.Kernel,
		UserData:  c.Image.UserData,
		PresetRun: c.preset().Run,
		Run:       c.Image.Run,
		Files:     c.Image.files(),
		Env:       c.Image.Env,
		Secrets:   c.Image.secrets(),
		Proxy:     c.Image.Proxy,
		NoProxy:   c.Image.NoProxy,

		CertificateFiles: c.Image.CACertificates,
		User:             user,
		Disk:             c.Machine.Disk,
		CPUs:             c.Machine.CPUs,
		Memory:           c.Machine.Memory,
	}
}

// foreign is the backend, if it is one whose images have accounts already and
// are entered by SSH: chosen by its name, or by the system that this is.
func (c Config) foreign() string {
	switch {
	case c.Backend != BackendAuto:
		return c.Backend
	case runtime.GOOS == "darwin":
		return BackendTart
	case runtime.GOOS == "freebsd":
		return BackendBhyve
	}
	return ""
}

// PoolDir holds what belongs to this pool alone. Processes and links are found
// again by its path, so it is one path, by whichever links StateDir leads there.
func (c Config) PoolDir() string { return filepath.Join(withoutLinks(c.StateDir), "pools", c.Pool) }

// ImagesDir is the cache of golden images, which all pools of a host share.
func (c Config) ImagesDir() string { return filepath.Join(c.StateDir, "images") }

// AddressDir holds the record of addresses taken, which all pools share.
func (c Config) AddressDir() string { return filepath.Join(c.StateDir, "addresses") }

// BudgetDir holds what workers of all pools hold of this host.
func (c Config) BudgetDir() string { return filepath.Join(c.StateDir, "budget") }

// MaxWorkers is the most workers that the pool may have. A device of the host's has
// one owner at a time.
func (c Config) MaxWorkers() int {
	if len(c.Machine.Devices) > 0 {
		return 1
	}
	if c.Host.MaxWorkers > 0 {
		return c.Host.MaxWorkers
	}
	return c.Capacity()
}

// Capacity is how many workers the pool can have beside what else of it may
// have an address at the same time: a machine that an image or a template is
// made of, one of a renewal, a spare that is being made while its room goes to a worker,
// and those that failed jobs have held. A spare that is ready becomes that worker.
func (c Config) Capacity() int {
	besides := 1
	if c.Image.Refresh != (image.Refresh{}) {
		besides++
	}
	if c.Fork.Spares > 0 {
		besides++
	}
	if c.Hold.On == HoldFailed {
		besides += c.Hold.Max
	}
	return c.Network.Addresses() - besides
}

// Addresses is how many machines the subnet has addresses for. Its network
// address, the gateway and the broadcast address are no machine's.
func (n Network) Addresses() int { return network.Subnet(n.Subnet).Capacity() }
