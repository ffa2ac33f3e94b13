package architecture

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// room is one folder, or one kind of folder, and what its packages may import
// of this module. A pattern is a folder, or a folder with all below it
// ("provider/..."). A package may always import what is below its own second
// level: backend/qemu and backend/qemu/qmp are one implementation.
type room struct {
	pattern string
	imports []string
	// tests is what its tests may import besides.
	tests []string
	// stdOnly says that nothing from outside this module and the standard
	// library may be imported: a contract drags nothing along.
	stdOnly bool
}

// contracts are the root packages that an implementation may import: all but
// pool, which is above them.
var contracts = []string{"backend", "cloudinit", "guest", "image", "network"}

// ground are small tools that anyone may import, named after what they are.
// They import nothing of this module, but that doctor looks programs up, claim takes
// locks and opens files, scratch takes locks, and filelock says that there is no room for a lock's file.
var ground = []string{"claim", "diskspace", "doctor", "filelock", "hostmemory", "lines", "phase", "programs", "scratch",
	"signature", "sshkey", "statefile", "teardown", "workerid"}

// imageParts are what images are made with, and import no other part.
var imageParts = []string{"image/disk", "image/initrd"}

// builders are what a backend that boots its own images builds them with.
var builders = []string{"backend/bootlog", "backend/cgroup", "backend/process", "backend/stage", "image/cache", "image/draft", "image/prebuild"}

// driver is what a driver of virtual machines may import: the flow calls it, and
// it calls nothing of the flow's surroundings.
var driver = []string{"backend/process", "backend/vmm/...", "image/disk"}

// rooms is searched from the top; the first pattern that fits decides.
var rooms = []room{
	// The ground floor.
	{pattern: "claim", imports: []string{"diskspace", "filelock", "statefile"}},
	{pattern: "diskspace"},
	{pattern: "doctor", imports: []string{"programs"}, stdOnly: true},
	{pattern: "filelock", imports: []string{"diskspace"}},
	{pattern: "hostmemory"},
	{pattern: "lines", stdOnly: true},
	{pattern: "phase", stdOnly: true},
	{pattern: "programs", stdOnly: true},
	{pattern: "programs/wanted", stdOnly: true}, // it runs before any other module is downloaded
	{pattern: "scratch", imports: []string{"filelock"}},
	{pattern: "signature", stdOnly: true},
	{pattern: "sshkey"},
	{pattern: "statefile", stdOnly: true},
	{pattern: "teardown", stdOnly: true},
	{pattern: "workerid", stdOnly: true},
	// What pools write and all views of them read.
	{pattern: "ledger", stdOnly: true},
	// The contracts, and the pool that works with nothing else.
	{pattern: "cloudinit", imports: []string{"guest", "image", "network"}, stdOnly: true},
	{pattern: "guest", imports: []string{"network"}, stdOnly: true},
	{pattern: "image", stdOnly: true},
	{pattern: "network", stdOnly: true},
	{pattern: "backend", imports: []string{"guest", "image", "network"}, stdOnly: true},
	{pattern: "pool", imports: []string{"backend", "guest", "image", "ledger", "network", "pool/store"}, stdOnly: true},

	// The implementations.
	{pattern: "pool/store", imports: contracts},
	{pattern: "pool/control"},
	{pattern: "pool/access", imports: []string{"guest", "network", "pool"}}, // what the pool asks for, done
	{pattern: "guest/...", imports: []string{"cloudinit", "guest", "image", "network"}},
	{pattern: "cloudinit/seed", imports: contracts},
	{pattern: "network/address", imports: []string{"network"}},
	{pattern: "network/changes"},
	{pattern: "network/firewall", imports: []string{"network", "network/netlinkdump"}},
	{pattern: "network/hostfirewall", imports: []string{"network", "network/netlinkdump"}},
	{pattern: "network/nameserver", imports: []string{"network"}},
	{pattern: "network/netlinkdump"},
	{pattern: "network/packetlog", imports: []string{"network"}},
	// A lease has all of them.
	{pattern: "network/...", imports: []string{"guest", "network", "network/address", "network/changes", "network/firewall", "network/hostfirewall", "network/nameserver", "network/netlinkdump", "network/packetlog"}},
	{pattern: "image/disk", imports: contracts},
	{pattern: "image/distribution", stdOnly: true},
	{pattern: "image/initrd", imports: contracts},
	{pattern: "image/source", imports: union(contracts, "image/distribution")},
	// Sources become disks and seeds.
	{pattern: "image/draft", imports: union(contracts, union(imageParts, "image/source/...", "cloudinit/seed")...)},
	// What comes from a registry is kept in the cache; a tree is unpacked as sparse files.
	{pattern: "image/oci/...", imports: union(contracts, "image/cache", "image/disk")},
	{pattern: "image/...", imports: union(contracts, imageParts...)}, // the cache, the sources and the prebuild
	{pattern: "backend/cgroup"},
	{pattern: "backend/user", imports: []string{"image"}}, // whose ids of containers it keeps clear of
	// What is started is put into a group, and found by the users that machines have.
	{pattern: "backend/process", imports: union(contracts, "backend/cgroup", "backend/user")},
	{pattern: "backend/stage", imports: contracts},
	// Machines of a foreign tool, without our agent: they are prebuilt over SSH, and the tool imports the disks of images.
	{pattern: "backend/foreigntool", imports: union(contracts, "backend/stage", "guest/remote", "image/cache")},
	{pattern: "backend/tart", imports: union(contracts, "backend/bootlog", "backend/foreigntool", "guest/remote", "image/cache")},
	{pattern: "backend/bhyve", imports: union(contracts, "backend/foreigntool", "backend/stage", "guest/remote", "image/source")},
	{pattern: "backend/backendtest", imports: union(contracts, "pool/...")}, // only tests import it
	// The word for a machine's end tells what is quoted already.
	{pattern: "backend/bootlog", imports: []string{"guest"}},
	// The one flow of virtual machines knows no driver. Drivers' tests start machines without it.
	{pattern: "backend/vmm/kvm", imports: []string{"backend/process"}},
	{pattern: "backend/vmm/template", imports: contracts},
	{pattern: "backend/vmm", imports: union(contracts, union(builders, "backend/user", "image/disk")...)},
	{pattern: "backend/qemu/...", imports: union(contracts, driver...), tests: []string{"backend/stage", "backend/user"}},
	{pattern: "backend/cloudhypervisor/...", imports: union(contracts, driver...),
		tests: []string{"backend/stage", "backend/user"}},
	{pattern: "backend/nspawn", imports: union(contracts, union(builders, "image/disk")...)}, // containers have disks too
	// A backend builds images, and starts processes.
	{pattern: "backend/...", imports: union(contracts, builders...)},

	// What is on top: what is done on a host, the plugin and the commands.
	// The example is filled in, and names of distributions are checked.
	{pattern: "provider/config/tomlfile"},
	{pattern: "provider/config/...", imports: union(contracts, "image/distribution", "templates")},
	{pattern: "host/budget", imports: []string{"pool"}}, // what the pool asks for, done
	{pattern: "host/diskguard"},
	{pattern: "host", imports: union(contracts, "host/budget", "host/diskguard", "ledger", "pool", "pool/control",
		"pool/store", "provider/config")},
	{pattern: "provider", imports: []string{"host", "pool", "provider/config"}},
	// Those who only look. They read what ps reads, through the host.
	{pattern: "observe", imports: []string{"host", "image", "ledger", "pool", "pool/store", "provider/config"}},
	{pattern: "observe/tracing", imports: []string{"host", "ledger", "provider/config"}},
	{pattern: "observe/page", imports: []string{"ledger", "observe", "pool", "pool/store"}},
	{pattern: "observe/metrics", imports: []string{"ledger", "observe", "pool"}},
	{pattern: "observe/endpoint", imports: []string{"host", "observe", "observe/metrics", "observe/page", "provider/config",
		"templates"},
		tests: []string{"image", "ledger", "network", "pool/store"}},
	{pattern: "cmd/...", imports: union(contracts, "guest/agent", "host", "ledger", "licenses", "pool", "pool/store",
		"provider", "provider/config/...", "wiring")},
	// The only room that knows the implementations.
	{pattern: "wiring", imports: []string{"backend/...", "guest/...", "host", "host/diskguard", "image/...", "network/...", "observe/...",
		"pool/...", "provider/config"}},
	{pattern: "licenses/..."},
	{pattern: "release", imports: []string{"licenses", "provider/config"}},        // texts that packages have
	{pattern: "templates", tests: []string{"observe/metrics", "provider/config"}}, // examples must be valid
	// The way that others make workers is put together from parts.
	{pattern: "test/programs/bench", imports: union(contracts, "backend/process", "cloudinit/seed", "image/disk", "network/island", "pool/...", "provider/config", "test/...")},
	// A program that looks at the host with no help of ours, and listens in a namespace.
	{pattern: "test/programs/gitlab/prove", imports: []string{"backend/process", "network/island", "network/netlinkdump", "pool/...", "test/..."}},
	// A program that kills plugins, and listens in a namespace.
	{pattern: "test/programs/soak", imports: []string{"backend/process", "network/island", "test/..."}},
	// It names things of workers as workers are named, and asks the kernel for them.
	{pattern: "test/harness/inventory", imports: []string{"network/netlinkdump", "test/..."}},
	// It makes what killed processes leave, of the wired parts, and opens the pool as the plugin does.
	{pattern: "test/e2e/recovery", imports: []string{
		"backend/process", "backend/qemu", "backend/user", "backend/vmm/...",
		"host/...", "image", "network/netlinkdump", "pool/...", "provider/config", "test/...", "wiring"}},
	// It ends the orphans of a test that hung.
	{pattern: "test/harness/sandbox", imports: []string{"backend/process", "test/..."}},
	{pattern: "test/...", imports: []string{"backend", "guest", "image", "network", "network/netlinkdump", "pool/...", "provider/...", "test/..."}},
}

// forTests are backends that every test may import besides what its room may.
var forTests = []string{"backend/backendtest", "backend/process", "backend/synthetic"}

// badImports returns every import that the rooms do not allow, and every
// package that has no room.
func badImports(files []file) []string {
	var bad []string
	for _, f := range files {
		i := slices.IndexFunc(rooms, func(r room) bool { return within(f.dir(), r.pattern) })
		if i < 0 {
			bad = append(bad, fmt.Sprintf("%s has no room: add its folder to the table in test/architecture", f.path))
			continue
		}
		for _, imported := range f.imports {
			if why := refused(f, rooms[i], imported); why != "" {
				bad = append(bad, fmt.Sprintf("%s imports %s: %s", f.path, imported, why))
			}
		}
	}
	return bad
}

// refused says why a file may not import a package, or nothing.
func refused(f file, r room, imported string) string {
	to, ours := strings.CutPrefix(imported, module+"/")
	switch {
	case !ours && r.stdOnly && !f.test && strings.Contains(strings.Split(imported, "/")[0], "."):
		return "a contract imports the standard library and contracts only"
	case !ours, to == f.dir(), sameImplementation(f.dir(), to), withinAny(to, r.imports), withinAny(to, ground) && !withinAny(f.dir(), ground):
		return ""
	case f.test:
		return refusedInTest(to, r)
	}
	return fmt.Sprintf("of this module, the room %q may import: %s", r.pattern, strings.Join(r.imports, " "))
}

// refusedInTest is what is left of the rules for tests, which work with real
// parts: not what is above, and not another backend.
func refusedInTest(to string, r room) string {
	switch {
	case withinAny(to, forTests), withinAny(to, r.tests):
		return ""
	case withinAny(to, []string{"cmd/...", "host", "provider/...", "wiring"}):
		return "nothing below it knows it, not even in tests"
	case strings.HasPrefix(to, "backend/"):
		return "a test uses its own backend or one of " + strings.Join(forTests, " ")
	}
	return ""
}

// sameImplementation says whether two folders are at, or below, the same
// folder of the second level.
func sameImplementation(a, b string) bool {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	return len(as) > 1 && len(bs) > 1 && as[0] == bs[0] && as[1] == bs[1]
}

func within(dir, pattern string) bool {
	top, all := strings.CutSuffix(pattern, "/...")
	return dir == top || all && strings.HasPrefix(dir, top+"/")
}

func withinAny(dir string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return within(dir, p) })
}

func union(list []string, more ...string) []string {
	return append(slices.Clone(list), more...)
}

func (f file) dir() string { return path.Dir(f.path) }
