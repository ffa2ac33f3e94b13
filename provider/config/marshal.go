package config

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// written is a Config in the words of plugin_config. What has no word for its
// default, such as the host's own resolvers, is left out.
type written struct {
	Pool     string         `json:"pool"`
	Backend  string         `json:"backend"`
	StateDir string         `json:"state_dir"`
	Image    writtenImage   `json:"image"`
	Machine  writtenMachine `json:"machine"`
	Network  writtenNetwork `json:"network"`
	Fork     writtenFork    `json:"fork"`
	Nspawn   writtenNspawn  `json:"nspawn"`
	Host     writtenHost    `json:"host"`
	Tart     writtenTart    `json:"tart"`
	Bhyve    writtenBhyve   `json:"bhyve"`

	CloudHypervisor writtenCloudHypervisor `json:"cloud_hypervisor"`
}

type writtenImage struct {
	Source   string   `json:"source"`
	Digest   string   `json:"digest,omitzero"`
	Suite    string   `json:"suite,omitzero"`
	Packages []string `json:"packages,omitzero"`
	Run      []string `json:"run,omitzero"`
}

type writtenMachine struct {
	CPUs         int    `json:"cpus"`
	Memory       string `json:"memory"`
	Disk         string `json:"disk"`
	StartTimeout string `json:"start_timeout"`
}

type writtenNetwork struct {
	Subnet         netip.Prefix `json:"subnet"`
	Egress         string       `json:"egress,omitzero"`
	Allow          []string     `json:"allow,omitzero"`
	Deny           []string     `json:"deny,omitzero"`
	Domains        []string     `json:"domains,omitempty"` // an empty list would be refused
	DNS            []netip.Addr `json:"dns,omitzero"`
	IPv6           string       `json:"ipv6"`
	Bandwidth      string       `json:"bandwidth,omitzero"`
	Connections    int          `json:"connections"`
	ConnectionRate int          `json:"connection_rate"`
	LogDenied      bool         `json:"log_denied"`
}

type writtenFork struct {
	Enabled     bool `json:"enabled"`
	ShareMemory bool `json:"share_memory"`
	Spares      int  `json:"spares"`
}

type writtenHost struct {
	MaxWorkers       int `json:"max_workers"`
	ConcurrentStarts int `json:"concurrent_starts"`
}

var _ json.Marshaler = Config{}

// MarshalJSON writes a plugin_config from which Parse reads the same Config,
// for those who start the plugin with a configuration that they changed.
func (c Config) MarshalJSON() ([]byte, error) {
	return json.Marshal(written{
		Pool:     c.Pool,
		Backend:  c.Backend,
		StateDir: c.StateDir,
		Image: writtenImage{
			Source:   writeSource(c.Image.Source),
			Digest:   c.Image.Source.SHA256,
			Suite:    c.Image.Source.Suite,
			Packages: c.Image.Packages,
			Run:      c.Image.Run,
		},
		Machine: writtenMachine{
			CPUs:         c.Machine.CPUs,
			Memory:       writeSize(c.Machine.Memory),
			Disk:         writeSize(c.Machine.Disk),
			StartTimeout: c.Machine.StartTimeout.String(),
		},
		Network: c.Network.written(),
		Fork:    writtenFork(c.Fork),
		Nspawn:  writtenNspawn(c.Nspawn),
		Host:    writtenHost(c.Host),
		Tart:    writtenTart(c.Tart),
		Bhyve:   writtenBhyve(c.Bhyve),

		CloudHypervisor: c.CloudHypervisor.written(),
	})
}

func (n Network) written() writtenNetwork {
	return writtenNetwork{
		Subnet:         n.Subnet,
		Egress:         n.Egress,
		Allow:          writeDestinations(n.Allow),
		Deny:           writeDestinations(n.Deny),
		Domains:        n.Domains,
		DNS:            n.DNS,
		IPv6:           n.IPv6.String(),
		Bandwidth:      writeRate(n.Bandwidth),
		Connections:    n.Connections,
		ConnectionRate: n.ConnectionRate,
		LogDenied:      n.LogDenied,
	}
}

// writeDestinations keeps nil apart from empty.
func writeDestinations(list []network.Destination) []string {
	if list == nil {
		return nil
	}
	return network.FormatDestinations(list)
}

func writeSource(source image.Source) string {
	switch {
	case source.Location == "":
		return source.Kind
	case source.Kind == image.OCI || source.Kind == image.VM:
		return source.Kind + ":" + source.Location
	}
	return source.Location
}

func writeSize(bytes int64) string { return strconv.FormatInt(bytes/mib, 10) + "MiB" }

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
