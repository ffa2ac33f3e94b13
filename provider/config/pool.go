package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Names of the backends that Config.Backend may hold.
const (
	// BackendAuto leaves the choice to what this host can do.
	BackendAuto = "auto"
	// BackendQEMU runs workers as QEMU virtual machines.
	BackendQEMU = "qemu"
	// BackendCloudHypervisor runs workers as Cloud Hypervisor virtual machines.
	BackendCloudHypervisor = "cloudhypervisor"
	// BackendTart runs workers as Tart's machines on macOS.
	BackendTart = "tart"
	// BackendBhyve runs workers as guests of vm-bhyve on FreeBSD.
	BackendBhyve = "bhyve"
	// BackendNspawn runs workers as containers of systemd-nspawn.
	BackendNspawn = "nspawn"
	// BackendSynthetic only plays workers, for tests and load.
	BackendSynthetic = "synthetic"
)

var backends = []string{
	BackendAuto, BackendQEMU, BackendCloudHypervisor, BackendNspawn, BackendTart, BackendBhyve, BackendSynthetic,
}

// Pools that belong to commands: image builds outside a plugin process, the
// workers of `try`, and the clone of `image shell`.
const (
	PoolImages = "images"
	PoolTry    = "try"
	PoolShell  = "shell"
)

// maxSocketPath is the longest path of a unix socket, in bytes: sun_path has
// room for 108, the last of them zero.
const maxSocketPath = 107

// poolSection is what plugin_config itself holds.
func poolSection(c *Config) section {
	return section{together: c.checkSocketPath, keys: []key{
		{name: "pool", value: text(&c.Pool, parsePool), fallback: `"default"`,
			about: "name of this runner's workers, with which their ids begin. Two runners on one host need two names",
			refused: "anything but 1 to 24 of a-z, 0-9 and `-`, or `-` at an end; `images`, `shell` and `try`, " +
				"which are the commands' own (`try` by `--config` only: the plugin itself cannot tell)"},
		{name: "backend", value: text(&c.Backend, parseBackend).among(backends...), fallback: `"auto"`,
			about: `what runs the workers: "auto", "qemu", "cloudhypervisor", "nspawn", "tart", "bhyve" or
				"synthetic". "qemu": virtual machines. "cloudhypervisor": [those of Cloud
				Hypervisor](../backends/cloudhypervisor.md), which need KVM. "nspawn":
				[containers](../backends/nspawn.md), which share the host's kernel. "tart": [Tart's
				machines](../backends/tart.md) on macOS. "bhyve": [vm-bhyve's guests](../backends/bhyve.md) on
				FreeBSD. "synthetic": plays workers for tests, isolates nothing. "auto": the first for which this
				host lacks nothing, of "qemu" and "cloudhypervisor" on Linux, "tart" on macOS, "bhyve" on FreeBSD;
				never "nspawn" or "synthetic". The log and doctor say which, and why`,
			refused: "other names"},
		{name: "state_dir", value: text(&c.StateDir, parseStateDir), fallback: `"/var/lib/mayfly"`,
			about: "images, downloads, workers and records; one directory serves all pools of a host. It is made " +
				"for its owner alone, and so are `pools` and `images` in it. Symbolic links to it are followed",
			refused: "a relative path; a comma or a control character, which QEMU's command line cannot carry; one " +
				"too long for the sockets below it, at most 71 bytes less twice the pool's name"},
	}}
}

// checkSocketPath refuses here what would otherwise fail with "invalid
// argument" when the first worker starts.
func (c *Config) checkSocketPath(r *reading) {
	socket := filepath.Join(c.PoolDir(), "workers", c.Pool+"-xxxxxxxx", "agent.sock")
	if excess := len(socket) - maxSocketPath; excess > 0 && !r.wrong("pool", "state_dir") {
		r.refuse("state_dir", "%q is too long for the sockets below it, whose paths may have %d bytes: "+
			"shorten it by %d", c.StateDir, maxSocketPath, excess)
	}
}

// A pool's name is part of host names, interface records and paths.
var poolName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$`)

// IsPool tells whether a pool can have the name, those of this program's commands
// included. What has another name beside the pools' directories is none of them.
func IsPool(name string) bool { return poolName.MatchString(name) }

var parsePool = matching(poolName, "is not a valid name of a pool: use up to 24 of a-z, 0-9 and -, not beginning or "+
	"ending with -")

func parseBackend(name string) (string, error) {
	if !slices.Contains(backends, name) {
		return "", fmt.Errorf("unknown backend %q: use one of %s", name, strings.Join(backends, ", "))
	}
	return name, nil
}

func parseStateDir(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is not an absolute path: write for instance \"/var/lib/mayfly\"", path)
	}
	if strings.ContainsRune(path, ',') || strings.ContainsFunc(path, unicode.IsControl) {
		return "", fmt.Errorf("%q has a comma or a control character in it, which the machines' command lines cannot "+
			"carry: "+
			"choose another directory", path)
	}
	return filepath.Clean(path), nil
}

// withoutLinks follows the symbolic links of a path as far as it exists.
func withoutLinks(dir string) string {
	if followed, err := filepath.EvalSymlinks(dir); err == nil {
		return followed
	}
	if parent := filepath.Dir(dir); parent != dir {
		return filepath.Join(withoutLinks(parent), filepath.Base(dir))
	}
	return dir
}
