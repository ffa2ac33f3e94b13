package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
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

func defaultTart() Tart {
	return Tart{
		User: "admin", Password: "admin", Pull: "missing", Concurrency: 4, RandomSerial: true,
		RootDisk: "sync=none", Network: "nat", Resolver: "dhcp",
	}
}

// TartHome is where Tart keeps the machines of all pools.
func (c Config) TartHome() string {
	if c.Tart.Home != "" {
		return c.Tart.Home
	}
	return filepath.Join(c.StateDir, "tart")
}

type rawTart struct {
	home, user, password, pull, cpu, memory, rootDisk, network, resolver given[string]
	insecure, randomSerial, nested, suspendable                          given[bool]
	concurrency                                                          given[int64]
	dirs, mounts, disks, bridged, softnetAllow, softnetBlock             given[[]string]
}

func readTart(t *table) rawTart {
	return rawTart{
		home:         t.text("home", `"/Users/ci/.tart"`),
		user:         t.text("user", `"admin"`),
		password:     t.text("password", `"admin"`),
		pull:         t.text("pull", `"missing"`),
		insecure:     t.flag("insecure", `false`),
		concurrency:  t.whole("concurrency", `4`),
		cpu:          t.text("cpu", `"auto"`),
		memory:       t.text("memory", `"auto"`),
		randomSerial: t.flag("random_serial", `true`),
		dirs:         t.texts("dirs", `["/Users/ci/cache,tag=cache"]`),
		mounts:       t.texts("mounts", `["cache:/Users/admin/cache"]`),
		disks:        t.texts("disks", `["/Users/ci/tools.img:ro"]`),
		rootDisk:     t.text("root_disk", `"sync=none"`),
		network:      t.text("network", `"softnet"`),
		bridged:      t.texts("bridged", `["en0"]`),
		softnetAllow: t.texts("softnet_allow", `["192.168.1.10/32"]`),
		softnetBlock: t.texts("softnet_block", `["0.0.0.0/0"]`),
		nested:       t.flag("nested", `false`),
		suspendable:  t.flag("suspendable", `false`),
		resolver:     t.text("resolver", `"dhcp"`),
	}
}

func (r rawTart) parse(m *Errors, to *Tart) {
	set(m, r.home, &to.Home, parseDirectory)
	set(m, r.user, &to.User, parseLoginUser)
	set(m, r.password, &to.Password, parsePassword)
	set(m, r.pull, &to.Pull, oneOf("missing", "always"))
	set(m, r.insecure, &to.Insecure, asGiven)
	set(m, r.concurrency, &to.Concurrency, parseConcurrency)
	set(m, r.cpu, &to.CPU, oneOf("auto"))
	set(m, r.memory, &to.Memory, oneOf("auto"))
	set(m, r.randomSerial, &to.RandomSerial, asGiven)
	setEach(m, r.dirs, &to.Dirs, parseShare)
	setEach(m, r.disks, &to.Disks, parseDisk)
	set(m, r.rootDisk, &to.RootDisk, parseRootDisk)
	set(m, r.network, &to.Network, oneOf("nat", "softnet", "bridged", "host"))
	setEach(m, r.bridged, &to.Bridged, parseInterface)
	setEach(m, r.softnetAllow, &to.SoftnetAllow, parsePrefix)
	setEach(m, r.softnetBlock, &to.SoftnetBlock, parsePrefix)
	set(m, r.nested, &to.Nested, asGiven)
	set(m, r.suspendable, &to.Suspendable, asGiven)
	if to.Network == "bridged" && !r.resolver.set {
		to.Resolver = "arp" // the one that needs nothing in the image
	}
	set(m, r.resolver, &to.Resolver, oneOf("dhcp", "arp", "agent"))
	setEach(m, r.mounts, &to.Mounts, func(text string) (string, error) { return parseMount(text, to.Dirs) })
	r.checkContradictions(m, *to)
}

func (r rawTart) checkContradictions(m *Errors, t Tart) {
	if t.Network == "bridged" && len(t.Bridged) == 0 {
		m.add(r.network.path, "\"bridged\" needs an interface: write for instance bridged = [\"en0\"] (`tart run --net-bridged=list` shows them)")
	}
	if t.Network != "bridged" && len(t.Bridged) > 0 {
		m.add(r.bridged.path, "contradicts network %q: write network = \"bridged\", or remove it", t.Network)
	}
	for _, list := range []given[[]string]{r.softnetAllow, r.softnetBlock} {
		if t.Network != "softnet" && len(list.value) > 0 {
			m.add(list.path, "contradicts network %q: write network = \"softnet\", or remove it", t.Network)
		}
	}
	if t.Network == "bridged" && t.Resolver == "dhcp" {
		m.add(r.resolver.path, "\"dhcp\" does not know addresses of network \"bridged\": write \"arp\" or \"agent\"")
	}
	if t.Network == "softnet" && t.Resolver == "arp" {
		m.add(r.resolver.path, "\"arp\" sees nothing of network \"softnet\": write \"dhcp\" or \"agent\"")
	}
	if t.Nested && t.Suspendable {
		m.add(r.nested.path, "contradicts suspendable: the one is for Linux guests only, the other for macOS guests")
	}
}

// checkHome refuses here what would otherwise fail when the first machine runs.
func (r raw) checkHome(m *Errors, c Config) {
	if m.has(r.tart.home.path) || c.foreign() != BackendTart {
		return
	}
	const room = 103 // sun_path of macOS has 104 bytes, the last of them zero
	socket := filepath.Join(c.TartHome(), "vms", c.Pool+"-xxxxxxxx", "control.sock")
	if excess := len(socket) - room; excess > 0 {
		m.add(r.tart.home.path, "%q is too long for the sockets below it, whose paths may have %d bytes: shorten it by %d",
			c.TartHome(), room, excess)
	}
}

func parseConcurrency(n int64) (int, error) {
	if n < 1 || n > 64 {
		return 0, fmt.Errorf("%d is out of range: write a number from 1 to 64", n)
	}
	return int(n), nil
}

// share is Tart's --dir: [name:]PATH[:ro][,tag=TAG].
var share = regexp.MustCompile(`^(?:[A-Za-z0-9_.-]+:)?(/[^:,]*)(?::ro)?(?:,tag=([A-Za-z0-9_.-]+))?$`)

func parseShare(text string) (string, error) {
	if !share.MatchString(text) {
		return "", fmt.Errorf("%q is no share: write [NAME:]/PATH[:ro][,tag=TAG], for instance \"/Users/ci/cache,tag=cache\"", text)
	}
	return text, nil
}

// parseMount wants the tag of a share: another would fail in each worker.
func parseMount(text string, shares []string) (string, error) {
	tag, dir, _ := strings.Cut(text, ":")
	if tag == "" || !filepath.IsAbs(dir) {
		return "", fmt.Errorf("%q is no mount: write TAG:/DIRECTORY, for instance \"cache:/Users/admin/cache\"", text)
	}
	for _, spec := range shares {
		if match := share.FindStringSubmatch(spec); match != nil && match[2] == tag {
			return text, nil
		}
	}
	return "", fmt.Errorf("no entry of dirs has the tag %q: add for instance \"/PATH,tag=%s\" there", tag, tag)
}

func parseDisk(text string) (string, error) {
	if text == "" || strings.HasPrefix(text, "-") || strings.ContainsFunc(text, isSpaceOrControl) {
		return "", fmt.Errorf("%q is no disk: write /PATH[:ro][,sync=none], or what else `tart run --disk` takes", text)
	}
	return text, nil
}

var rootDiskOption = regexp.MustCompile(`^(sync=(none|fsync|full)|caching=(automatic|cached|uncached))$`)

func parseRootDisk(text string) (string, error) {
	for option := range strings.SplitSeq(text, ",") {
		if !rootDiskOption.MatchString(option) {
			return "", fmt.Errorf("%q is no option of the root disk: write for instance \"sync=none,caching=cached\"", option)
		}
	}
	return text, nil
}

type writtenTart struct {
	Home         string         `json:"home,omitzero"`
	User         string         `json:"user"`
	Password     string         `json:"password"`
	Pull         string         `json:"pull"`
	Insecure     bool           `json:"insecure"`
	Concurrency  int            `json:"concurrency"`
	CPU          string         `json:"cpu,omitzero"`
	Memory       string         `json:"memory,omitzero"`
	RandomSerial bool           `json:"random_serial"`
	Dirs         []string       `json:"dirs,omitzero"`
	Mounts       []string       `json:"mounts,omitzero"`
	Disks        []string       `json:"disks,omitzero"`
	RootDisk     string         `json:"root_disk"`
	Network      string         `json:"network"`
	Bridged      []string       `json:"bridged,omitzero"`
	SoftnetAllow []netip.Prefix `json:"softnet_allow,omitzero"`
	SoftnetBlock []netip.Prefix `json:"softnet_block,omitzero"`
	Nested       bool           `json:"nested"`
	Suspendable  bool           `json:"suspendable"`
	Resolver     string         `json:"resolver"`
}
