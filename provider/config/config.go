// Package config turns a runner's plugin_config into a Config: every value
// checked, every default filled in, every mistake reported at once. The shape
// of the file (raw.go), the check of each part (pool.go, image.go and so on)
// and fleetingd's older keys (fleetingd.go) live here, and so does finding
// plugin_config in GitLab Runner's own config.toml (runner.go).
//
// What the values lead to does not live here: nothing in this package starts,
// creates or probes anything, except that a local image must be readable and
// that symbolic links to the state directory are followed.
package config

import (
	"net/netip"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Names of the backends that Config.Backend may hold.
const (
	// BackendAuto leaves the choice to what this host can do.
	BackendAuto = "auto"
	// BackendQEMU runs workers as QEMU virtual machines.
	BackendQEMU = "qemu"
	// BackendTart runs workers as Tart's machines on macOS.
	BackendTart = "tart"
	// BackendBhyve runs workers as guests of vm-bhyve on FreeBSD.
	BackendBhyve = "bhyve"
	// BackendNspawn runs workers as containers of systemd-nspawn.
	BackendNspawn = "nspawn"
	// BackendSynthetic only plays workers, for tests and load.
	BackendSynthetic = "synthetic"
)

// Multiples of a byte, the unit of every size in a Config.
const (
	mib int64 = 1 << 20
	gib int64 = 1 << 30
)

// DefaultUser is the account that jobs log in to when the runner's
// connector_config names none.
const DefaultUser = "mayfly"

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
	Tart     Tart
	Bhyve    Bhyve
	// CloudHypervisor is for that backend only.
	CloudHypervisor CloudHypervisor
}

// Image says what workers are made from.
type Image struct {
	Source image.Source
	// Packages are installed at prebuild, and then Run's shell commands are
	// run as root, in order.
	Packages []string
	Run      []string
}

// Machine says what one worker gets.
type Machine struct {
	CPUs int
	// Memory and Disk are in bytes, always whole mebibytes.
	Memory int64
	Disk   int64
	// StartTimeout is how long a worker may take to become ready before it
	// counts as failed. The runner has no such limit of its own.
	StartTimeout time.Duration
}

// Network says where workers are and what they may reach.
type Network struct {
	// Subnet holds the workers' addresses on this host. It is IPv4.
	Subnet netip.Prefix
	network.Policy
}

// Fork says whether workers are forked from a machine that was booted once.
type Fork struct {
	Enabled bool
	// ShareMemory lets the forks of a pool share the pages that none of them
	// has written to.
	ShareMemory bool
	// Spares is how many forks are kept ready but for their identity.
	Spares int
}

// Host says how much of this host the pool may take.
type Host struct {
	// MaxWorkers of 0 stands for as many as the subnet holds.
	MaxWorkers int
	// ConcurrentStarts is how many workers may be on their way up at once.
	ConcurrentStarts int
}

// Default is the Config of an empty plugin_config.
func Default() Config {
	return Config{
		Pool:     "default",
		Backend:  BackendAuto,
		StateDir: "/var/lib/mayfly",
		Image:    Image{Source: image.Source{Kind: image.Debootstrap}},
		Machine:  Machine{CPUs: 2, Memory: 2 * gib, Disk: 10 * gib, StartTimeout: 10 * time.Minute},
		Network: Network{
			Subnet: netip.MustParsePrefix("10.210.0.0/16"),
			Policy: network.Policy{Connections: 4096, ConnectionRate: 500},
		},
		Fork:   Fork{Enabled: true, ShareMemory: true},
		Nspawn: Nspawn{PrivateUsers: true},
		Host:   Host{ConcurrentStarts: 4},
		Tart:   defaultTart(),
		Bhyve:  defaultBhyve(),

		CloudHypervisor: CloudHypervisor{Binary: "cloud-hypervisor"},
	}
}

// Recipe is the image that the configuration asks for, with user as the
// account that jobs log in to; when that is empty it is DefaultUser, or the
// account that the image has. The
// binaries to copy in are not configuration: the wiring adds them.
func (c Config) Recipe(user string) image.Recipe {
	if user == "" {
		user = c.defaultUser()
	}
	return image.Recipe{
		Source:   c.Image.Source,
		Packages: c.Image.Packages,
		Run:      c.Image.Run,
		User:     user,
		Disk:     c.Machine.Disk,
		CPUs:     c.Machine.CPUs,
		Memory:   c.Machine.Memory,
	}
}

// PoolDir holds what belongs to this pool alone. Processes and links are found
// again by its path, so it is one path, by whichever links StateDir leads there.
func (c Config) PoolDir() string { return filepath.Join(withoutLinks(c.StateDir), "pools", c.Pool) }

// ImagesDir is the cache of golden images, which all pools of a host share.
func (c Config) ImagesDir() string { return filepath.Join(c.StateDir, "images") }

// AddressDir holds the record of addresses taken, which all pools share.
func (c Config) AddressDir() string { return filepath.Join(c.StateDir, "addresses") }

// MaxWorkers is the most workers that the pool may have.
func (c Config) MaxWorkers() int {
	if c.Host.MaxWorkers > 0 {
		return c.Host.MaxWorkers
	}
	return c.Capacity()
}

// Capacity is how many workers the pool can have beside what else of it may
// have an address at the same time: a machine that an image or a template is
// made of, and a spare that is being made while its room goes to a worker. A
// spare that is ready becomes that worker.
func (c Config) Capacity() int {
	besides := 1
	if c.Fork.Spares > 0 {
		besides++
	}
	return c.Network.Addresses() - besides
}

// Addresses is how many machines the subnet has addresses for. Its network
// address, the gateway and the broadcast address are no machine's.
func (n Network) Addresses() int { return 1<<(n.Subnet.Addr().BitLen()-n.Subnet.Bits()) - 3 }
