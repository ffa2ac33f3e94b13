package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// Tart says how Tart's machines are made, for the backend of that name.
type Tart struct {
	// Home is TART_HOME; empty means a directory below StateDir.
	Home string
	// User and Password are an image's first login.
	User, Password string
	// Pull is "missing" or "always".
	Pull        string
	Insecure    bool
	Concurrency int
	// CPU and Memory are "auto", for a share of the host, or empty, for what
	// Machine says.
	CPU, Memory  string
	RandomSerial bool
	// Dirs and Disks are Tart's --dir and --disk, RootDisk its
	// --root-disk-opts. Mounts are "TAG:DIRECTORY".
	Dirs, Mounts, Disks []string
	RootDisk            string
	// Network is "nat", "softnet", "bridged" or "host".
	Network                    string
	Bridged                    []string
	SoftnetAllow, SoftnetBlock []netip.Prefix
	Nested, Suspendable        bool
	// Resolver is "dhcp", "arp" or "agent".
	Resolver string
}

// TartHome is where Tart keeps the machines of all pools.
func (c Config) TartHome() string {
	if c.Tart.Home != "" {
		return c.Tart.Home
	}
	return filepath.Join(c.StateDir, "tart")
}

func tartSection(c *Config) section {
	t := &c.Tart
	return section{name: "tart", together: c.checkTart,
		about: `For the backend "tart" on macOS: image.source is then "oci:REGISTRY/NAME:TAG" or "vm:NAME".
			docs/backends/tart.md says more about each key.`,
		keys: []key{
			{name: "home", value: text(&t.Home, parsePath), otherwise: "`tart` below `state_dir`",
				example: `"/Users/ci/.tart"`,
				about:   "Tart's own directory, TART_HOME",
				refused: "a relative path; one too long for the sockets below it"},
			{name: "user", value: text(&t.User, parseLoginUser), fallback: `"admin"`,
				about: "the image's first login. Jobs log in as this user too, unless `connector_config` names " +
					"another",
				refused: "what is not a valid name of an account"},
			{name: "password", value: text(&t.Password, parsePassword), fallback: `"admin"`,
				about: "the password of the image's first login", refused: "empty"},
			{name: "pull", value: word(&t.Pull, "missing", "always"), fallback: `"missing"`,
				about: `how images are pulled: "missing" or "always". "always" asks the registry at each start of
					the pool`,
				refused: "other words"},
			{name: "insecure", value: boolean(&t.Insecure), fallback: `false`, about: "speak HTTP with the registry"},
			{name: "concurrency", value: whole(&t.Concurrency, between(1, 64)), fallback: `4`,
				about: "how many layers are pulled at once", refused: "below 1, above 64"},
			{name: "cpu", value: word(&t.CPU, "auto"), example: `"auto"`,
				about: `"auto": a share of the host's processors by host.max_workers, or half of them, in place of
					machine.cpus`,
				refused: "other words"},
			{name: "memory", value: word(&t.Memory, "auto"), example: `"auto"`,
				about: `"auto": a share of the host's memory by host.max_workers, or half of it, in place of
					machine.memory`,
				refused: "other words"},
			{name: "random_serial", value: boolean(&t.RandomSerial), fallback: `true`,
				about: "each macOS worker has a serial number of its own"},
			{name: "dirs", value: list(&t.Dirs, parseShare), example: `["/Users/ci/cache,tag=cache"]`,
				about: "shares, `[NAME:]/PATH[:ro][,tag=TAG]`", refused: "another form"},
			{name: "mounts", value: list(&t.Mounts, parseMount), example: `["cache:/Users/admin/cache"]`,
				about:   "shares that are mounted in each worker, `TAG:/DIRECTORY`",
				refused: "another form; a tag that no entry of `dirs` has"},
			{name: "disks", value: list(&t.Disks, parseDisk), example: `["/Users/ci/tools.img:ro"]`,
				about: "further disks, as `tart run --disk` takes them", refused: "what begins with `-`, blanks"},
			{name: "root_disk", value: text(&t.RootDisk, parseRootDisk), fallback: `"sync=none"`,
				about: "`sync=none`, `fsync` or `full`, `caching=automatic`, `cached` or `uncached`, with a comma " +
					"between",
				refused: "other options"},
			{name: "network", value: word(&t.Network, "nat", "softnet", "bridged", "host"), fallback: `"nat"`,
				example: `"softnet"`,
				about: `"nat", "softnet" (which has allow and block lists), "bridged" (which names interfaces) or
					"host"`,
				refused: "other words"},
			{name: "bridged", value: list(&t.Bridged, parseInterface), example: `["en0"]`,
				about: "interfaces of the host", refused: "beside another network; none for that network"},
			{name: "softnet_allow", value: list(&t.SoftnetAllow, parsePrefix), kind: "list of CIDR",
				example: `["192.168.1.10/32"]`,
				about:   "what guests may reach; the longest prefix wins, at equal length block",
				refused: "beside another network; IPv6"},
			{name: "softnet_block", value: list(&t.SoftnetBlock, parsePrefix), kind: "list of CIDR",
				example: `["0.0.0.0/0"]`,
				about:   "what guests may not reach", refused: "beside another network; IPv6"},
			{name: "nested", value: boolean(&t.Nested), fallback: `false`,
				about:   "machines inside Linux guests",
				refused: "beside `suspendable`; with a macOS image, when it is built"},
			{name: "suspendable", value: boolean(&t.Suspendable), fallback: `false`,
				about:   "workers resume from the golden machine's memory, one at a time",
				refused: "with a Linux image, when it is built"},
			{name: "resolver", value: word(&t.Resolver, "dhcp", "arp", "agent"), fallback: `"dhcp"`,
				otherwise: "`\"dhcp\"`, `\"arp\"` for bridged",
				about:     `how Tart finds addresses: "dhcp", "arp" or "agent". "agent" needs its agent in the image`,
				refused:   `"dhcp" for bridged; "arp" for softnet`},
		},
	}
}

func (c *Config) checkTart(r *reading) {
	t := &c.Tart
	if t.Network == "bridged" && !r.gave("tart.resolver") {
		t.Resolver = "arp" // the one that needs nothing in the image
	}
	t.checkMounts(r)
	t.checkContradictions(r)
	c.checkTartHome(r)
}

// checkMounts wants the tags of shares: another would fail in each worker.
func (t Tart) checkMounts(r *reading) {
	for i, mount := range t.Mounts {
		tag, _, _ := strings.Cut(mount, ":")
		isShared := slices.ContainsFunc(t.Dirs, func(spec string) bool {
			match := share.FindStringSubmatch(spec)
			return match != nil && match[2] == tag
		})
		if mount != "" && !isShared {
			r.add(tomlfile.At(r.path("tart.mounts"), i), "no entry of dirs has the tag %q: "+
				"add for instance \"/PATH,tag=%s\" there", tag, tag)
		}
	}
}

func (t Tart) checkContradictions(r *reading) {
	if t.Network == "bridged" && len(t.Bridged) == 0 {
		r.refuse("tart.network", "\"bridged\" needs an interface: "+
			"write for instance bridged = [\"en0\"] (`tart run --net-bridged=list` shows them)")
	}
	if t.Network != "bridged" && len(t.Bridged) > 0 {
		r.refuse("tart.bridged", "contradicts network %q: write network = \"bridged\", or remove it", t.Network)
	}
	lists := map[string][]netip.Prefix{"tart.softnet_allow": t.SoftnetAllow, "tart.softnet_block": t.SoftnetBlock}
	for key, list := range lists {
		if t.Network != "softnet" && len(list) > 0 {
			r.refuse(key, "contradicts network %q: write network = \"softnet\", or remove it", t.Network)
		}
	}
	if t.Network == "bridged" && t.Resolver == "dhcp" {
		r.refuse("tart.resolver", "\"dhcp\" does not know addresses of network \"bridged\": write \"arp\" or \"agent\"")
	}
	if t.Network == "softnet" && t.Resolver == "arp" {
		r.refuse("tart.resolver", "\"arp\" sees nothing of network \"softnet\": write \"dhcp\" or \"agent\"")
	}
	if t.Nested && t.Suspendable {
		r.refuse("tart.nested", "contradicts suspendable: the one is for Linux guests only, the other for macOS guests")
	}
}

// checkTartHome refuses here what would otherwise fail when the first machine runs.
func (c *Config) checkTartHome(r *reading) {
	if r.wrong("tart.home") || c.foreign() != BackendTart {
		return
	}
	const room = 103 // sun_path of macOS has 104 bytes, the last of them zero
	socket := filepath.Join(c.TartHome(), "vms", c.Pool+"-xxxxxxxx", "control.sock")
	if excess := len(socket) - room; excess > 0 {
		r.refuse("tart.home", "%q is too long for the sockets below it, whose paths may have %d bytes: "+
			"shorten it by %d",
			c.TartHome(), room, excess)
	}
}

// share is Tart's --dir: [name:]PATH[:ro][,tag=TAG].
var (
	share      = regexp.MustCompile(`^(?:[A-Za-z0-9_.-]+:)?(/[^:,]*)(?::ro)?(?:,tag=([A-Za-z0-9_.-]+))?$`)
	parseShare = matching(share, `is not a valid share: write [NAME:]/PATH[:ro][,tag=TAG], for instance `+
		`"/Users/ci/cache,tag=cache"`)
)

func parseMount(text string) (string, error) {
	if tag, dir, _ := strings.Cut(text, ":"); tag == "" || !filepath.IsAbs(dir) {
		return "", fmt.Errorf("%q is not a valid mount: "+
			"write TAG:/DIRECTORY, for instance \"cache:/Users/admin/cache\"", text)
	}
	return text, nil
}

func parseDisk(text string) (string, error) {
	if text == "" || strings.HasPrefix(text, "-") || strings.ContainsFunc(text, isSpaceOrControl) {
		return "", fmt.Errorf("%q is not a valid disk: "+
			"write /PATH[:ro][,sync=none], or what else `tart run --disk` takes", text)
	}
	return text, nil
}

var rootDiskOption = regexp.MustCompile(`^(sync=(none|fsync|full)|caching=(automatic|cached|uncached))$`)

func parseRootDisk(text string) (string, error) {
	for option := range strings.SplitSeq(text, ",") {
		if !rootDiskOption.MatchString(option) {
			return "", fmt.Errorf("%q is not a valid option of the root disk: "+
				"write for instance \"sync=none,caching=cached\"", option)
		}
	}
	return text, nil
}
