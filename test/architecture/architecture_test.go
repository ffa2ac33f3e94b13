package architecture

import (
	"fmt"
	"strings"
	"testing"
)

// checks are all rules, by what they promise.
var checks = map[string]func([]file) []string{
	"imports stay in their rooms":      badImports,
	"only the wiring names a backend":  namedBackends,
	"every package has a comment":      undocumented,
	"an alias means one package":       ambiguousAliases,
	"packages are named for something": vaguelyNamed,
	"programs are in the table":        unlistedPrograms,
	"lists of the kernel are repeated": bareDumps,
}

func TestRepository(t *testing.T) {
	files := readTree(t)
	if len(files) < 10 {
		t.Fatalf("found %d Go files; is the repository elsewhere?", len(files))
	}
	for promise, check := range checks {
		t.Run(promise, func(t *testing.T) {
			for _, bad := range check(files) {
				t.Error(bad)
			}
		})
	}
}

// source is a file that imports packages of this module, or others when they
// begin with "!".
func source(t *testing.T, path, head string, imports ...string) file {
	t.Helper()
	var text strings.Builder
	text.WriteString(head + "\n")
	for _, imported := range imports {
		other, ok := strings.CutPrefix(imported, "!")
		if !ok {
			other = module + "/" + imported
		}
		text.WriteString("import _ \"" + other + "\"\n")
	}
	f, err := parseFile(path, text.String())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestImports(t *testing.T) {
	cases := []struct {
		path, imports string
		bad           bool
	}{
		{path: "network/network.go", imports: "!net/netip"},
		{path: "network/network.go", imports: "!github.com/google/nftables", bad: true},
		{path: "network/network.go", imports: "pool", bad: true},
		{path: "network/network.go", imports: "network/island", bad: true},
		{path: "network/island/island.go", imports: "!github.com/google/nftables"},
		{path: "network/island/island.go", imports: "network"},
		{path: "network/island/island.go", imports: "pool", bad: true},
		{path: "network/island/island.go", imports: "backend/process", bad: true},
		{path: "network/island/island.go", imports: "network/firewall"},
		{path: "network/firewall/rules.go", imports: "network/island", bad: true},
		{path: "image/cache/cache.go", imports: "filelock"},
		{path: "network/network.go", imports: "doctor"},
		{path: "filelock/filelock.go", imports: "image", bad: true},
		{path: "phase/phase.go", imports: "doctor", bad: true},
		{path: "doctor/doctor.go", imports: "programs"},
		{path: "programs/programs.go", imports: "doctor", bad: true},
		{path: "programs/wanted/main.go", imports: "programs"},
		{path: "programs/wanted/main.go", imports: "!golang.org/x/sys/unix", bad: true},
		{path: "phase/phase.go", imports: "!golang.org/x/sys/unix", bad: true},
		{path: "network/island/island.go", imports: "backend", bad: true},
		{path: "guest/remote/remote.go", imports: "backend", bad: true},
		{path: "pool/access/keys.go", imports: "backend", bad: true},
		{path: "backend/backend.go", imports: "image"},
		{path: "backend/backend.go", imports: "backend/qemu", bad: true},
		{path: "backend/qemu/qemu.go", imports: "backend"},
		{path: "backend/qemu/qemu.go", imports: "backend/process"},
		{path: "backend/qemu/qemu.go", imports: "backend/qemu/qmp"},
		{path: "backend/qemu/qmp/qmp.go", imports: "backend/qemu"},
		{path: "backend/qemu/qemu.go", imports: "backend/vmm"},
		{path: "backend/qemu/qemu.go", imports: "backend/vmm/kvm"},
		{path: "backend/qemu/qemu.go", imports: "backend/nspawn", bad: true},
		{path: "backend/qemu/qemu.go", imports: "backend/cloudhypervisor", bad: true},
		{path: "backend/qemu/qemu.go", imports: "backend/stage", bad: true},
		{path: "backend/qemu/qemu.go", imports: "image/prebuild", bad: true},
		{path: "backend/cloudhypervisor/machine.go", imports: "backend/vmm"},
		{path: "backend/cloudhypervisor/machine.go", imports: "backend/qemu/qmp", bad: true},
		{path: "backend/vmm/vmm.go", imports: "backend/vmm/template"},
		{path: "backend/vmm/vmm.go", imports: "backend/stage"},
		{path: "backend/vmm/vmm.go", imports: "backend/qemu", bad: true},
		{path: "backend/vmm/vmm.go", imports: "backend/cloudhypervisor/api", bad: true},
		{path: "backend/vmm/vmm.go", imports: "network/island", bad: true},
		{path: "backend/vmm/vmm_test.go", imports: "backend/qemu", bad: true},
		{path: "backend/vmm/template/shelf.go", imports: "backend/stage", bad: true},
		{path: "backend/vmm/kvm/kvm.go", imports: "image", bad: true},
		{path: "backend/nspawn/nspawn.go", imports: "backend/vmm", bad: true},
		{path: "backend/qemu/qemu.go", imports: "backend/backendtest", bad: true},
		{path: "backend/qemu/qemu.go", imports: "pool", bad: true},
		{path: "backend/qemu/qemu.go", imports: "network/island", bad: true},
		{path: "backend/qemu/qemu_darwin.go", imports: "provider", bad: true},
		{path: "backend/qemu/qemu_test.go", imports: "backend/backendtest"},
		{path: "backend/qemu/qemu_test.go", imports: "network/island"},
		{path: "backend/qemu/qemu_test.go", imports: "backend/stage"},
		{path: "backend/qemu/qemu_test.go", imports: "backend/nspawn", bad: true},
		{path: "backend/qemu/qemu_test.go", imports: "provider", bad: true},
		{path: "backend/tart/tart.go", imports: "backend/foreigntool"},
		{path: "backend/tart/tart.go", imports: "backend/bhyve", bad: true},
		{path: "backend/tart/tart.go", imports: "image/source", bad: true},
		{path: "backend/bhyve/bhyve.go", imports: "backend/foreigntool"},
		{path: "backend/bhyve/prebuild.go", imports: "image/source"},
		{path: "backend/bhyve/build.go", imports: "image/cache", bad: true},
		{path: "backend/foreigntool/images.go", imports: "guest/remote"},
		{path: "backend/foreigntool/images.go", imports: "backend/tart", bad: true},
		{path: "backend/foreigntool/images.go", imports: "backend/process", bad: true},
		{path: "backend/foreigntool/images.go", imports: "pool", bad: true},
		{path: "backend/qemu/qemu.go", imports: "backend/foreigntool", bad: true},
		{path: "guest/remote/remote.go", imports: "backend/foreigntool", bad: true},
		{path: "backend/process/process.go", imports: "backend/qemu", bad: true},
		{path: "backend/process/process.go", imports: "provider/config", bad: true},
		{path: "pool/pool.go", imports: "pool/store"},
		{path: "pool/pool.go", imports: "pool/access", bad: true},
		{path: "pool/access/keys.go", imports: "pool"},
		{path: "pool/elsewhere/elsewhere.go", imports: "!fmt", bad: true},
		{path: "pool/pool.go", imports: "backend/synthetic", bad: true},
		{path: "pool/pool.go", imports: "provider/config", bad: true},
		{path: "pool/pool.go", imports: "!github.com/hashicorp/go-hclog", bad: true},
		{path: "pool/pool_test.go", imports: "!go.uber.org/goleak"},
		{path: "pool/pool_test.go", imports: "backend/synthetic"},
		{path: "pool/store/store.go", imports: "pool", bad: true},
		{path: "wiring/elsewhere/elsewhere.go", imports: "backend/qemu", bad: true},
		{path: "provider/provider.go", imports: "pool"},
		{path: "provider/provider.go", imports: "backend/qemu", bad: true},
		{path: "provider/provider.go", imports: "network/island", bad: true},
		{path: "provider/provider.go", imports: "host"},
		{path: "provider/provider.go", imports: "pool/store", bad: true},
		{path: "provider/provider.go", imports: "wiring", bad: true},
		{path: "provider/provider_test.go", imports: "backend/synthetic"},
		{path: "provider/config/config.go", imports: "backend/qemu", bad: true},
		{path: "provider/config/config.go", imports: "provider", bad: true},
		{path: "provider/config/config.go", imports: "host", bad: true},
		{path: "host/host.go", imports: "pool/store"},
		{path: "host/host.go", imports: "provider/config"},
		{path: "host/host.go", imports: "provider", bad: true},
		{path: "host/host.go", imports: "wiring", bad: true},
		{path: "host/host.go", imports: "image/cache", bad: true},
		{path: "host/host.go", imports: "network/island", bad: true},
		{path: "host/host_linux.go", imports: "backend/qemu", bad: true},
		{path: "host/host_test.go", imports: "image/cache"},
		{path: "host/host_test.go", imports: "wiring", bad: true},
		{path: "pool/pool.go", imports: "host", bad: true},
		{path: "backend/qemu/qemu_test.go", imports: "wiring", bad: true},
		{path: "wiring/wiring.go", imports: "backend/qemu"},
		{path: "wiring/wiring_linux.go", imports: "network/island"},
		{path: "wiring/wiring.go", imports: "host"},
		{path: "wiring/wiring.go", imports: "provider", bad: true},
		{path: "wiring/wiring.go", imports: "cmd/fleeting-plugin-mayfly", bad: true},
		{path: "cmd/fleeting-plugin-mayfly/main.go", imports: "provider"},
		{path: "cmd/fleeting-plugin-mayfly/main.go", imports: "wiring"},
		{path: "cmd/fleeting-plugin-mayfly/main.go", imports: "pool/access", bad: true},
		{path: "cmd/fleeting-plugin-mayfly/main.go", imports: "backend/qemu", bad: true},
		{path: "templates/templates.go", imports: "image", bad: true},
		{path: "templates/templates.go", imports: "provider/config", bad: true},
		{path: "templates/templates_test.go", imports: "provider/config"},
		{path: "elsewhere/elsewhere.go", imports: "!fmt", bad: true},
	}
	for _, c := range cases {
		t.Run(c.path+" imports "+c.imports, func(t *testing.T) {
			bad := badImports([]file{source(t, c.path, "package x", c.imports)})
			if (len(bad) > 0) != c.bad {
				t.Errorf("found %q, want a violation: %v", bad, c.bad)
			}
		})
	}
}

func TestNamedBackends(t *testing.T) {
	cases := []struct {
		path, code string
		bad        bool
	}{
		{path: "pool/pool.go", code: `const name = "qemu"`, bad: true},
		{path: "pool/pool.go", code: `func isQEMU() {}`, bad: true},
		{path: "pool/store/store.go", code: `// as in systemd-nspawn`, bad: true},
		{path: "pool/pool.go", code: `const name = "tart"`, bad: true},
		{path: "pool/pool.go", code: `var isTart bool`, bad: true},
		{path: "pool/pool.go", code: `var tartHome string`, bad: true},
		{path: "provider/provider.go", code: `case "cloudhypervisor":`, bad: true},
		{path: "provider/provider.go", code: `// vm-bhyve cannot`, bad: true},
		{path: "pool/pool.go", code: `func (p *Pool) restart() { start(); p.Start(); START() }`},
		{path: "pool/pool_test.go", code: `const name = "qemu"`},
		{path: "host/check.go", code: `case "nspawn":`, bad: true},
		{path: "wiring/wiring.go", code: `case "qemu":`},
		{path: "provider/config/config.go", code: `const QEMU = "qemu"`},
		{path: "backend/qemu/qemu.go", code: `const name = "qemu"`},
	}
	for _, c := range cases {
		t.Run(c.path+" "+c.code, func(t *testing.T) {
			f := file{path: c.path, text: "package x\n\n" + c.code, test: strings.HasSuffix(c.path, "_test.go")}
			if bad := namedBackends([]file{f}); (len(bad) > 0) != c.bad {
				t.Errorf("found %q, want a violation: %v", bad, c.bad)
			}
		})
	}
}

func TestUnlistedPrograms(t *testing.T) {
	cases := []struct {
		path, imports, code string
		bad                 bool
	}{
		{path: "pool/pool.go", imports: "!os/exec", code: `exec.Command("nft", "list")`},
		{path: "pool/pool.go", imports: "!os/exec", code: `exec.Command("/bin/no-such")`},
		{path: "pool/pool.go", imports: "!os/exec", code: `exec.Command(name, "no-such")`},
		{path: "pool/pool.go", imports: "!os/exec", code: `exec.Command("no-such")`, bad: true},
		{path: "pool/pool.go", imports: "!os/exec", code: "func() { exec.Command(`no-such`).Run() }", bad: true},
		{path: "pool/pool_test.go", imports: "!os/exec", code: `exec.CommandContext(t.Context(), "no-such")`, bad: true},
		{path: "pool/pool_test.go", imports: "!os/exec", code: `exec.CommandContext(ctx, "qemu-img", "no-such")`},
		{path: "pool/pool_test.go", imports: "other !os/exec", code: `other.Command("no-such")`, bad: true},
		{path: "pool/pool_test.go", imports: "!elsewhere.org/exec", code: `exec.Command("no-such")`},
		{path: "pool/pool_test.go", imports: "!os/exec", code: `exec.LookPath("nft")`, bad: true},
		{path: "pool/pool_test.go", imports: "!os/exec", code: `apply(exec.LookPath)`, bad: true},
		{path: "programs/programs.go", imports: "!os/exec", code: `exec.LookPath(name)`},
		{path: "pool/pool_test.go", imports: "test/harness/sandbox", code: `sandbox.Need(t, "nft", "no-such")`, bad: true},
		{path: "pool/pool_test.go", imports: "test/harness/sandbox", code: `sandbox.EmptyNamespace(t, "no-such")`, bad: true},
		{path: "pool/pool_test.go", imports: "test/harness/sandbox", code: `sandbox.EmptyNamespace(t, "nft")`},
		{path: "pool/pool_test.go", imports: "test/harness/need", code: `need.Programs(t, "no-such")`, bad: true},
		{path: "pool/pool_test.go", imports: "test/harness/need", code: `need.Other(t, "a device")`},
		{path: "pool/pool.go", imports: "programs", code: `programs.Find("no-such")`, bad: true},
		{path: "pool/pool.go", imports: "programs", code: `programs.Remedy("no-such")`, bad: true},
		{path: "pool/pool.go", imports: "doctor", code: `doctor.FindProgram("no-such")`, bad: true},
		{path: "pool/pool.go", imports: "backend/process", code: `process.Command{Output: "no-such", Path: "unshare"}`},
		{path: "pool/pool.go", imports: "backend/process", code: `process.Command{Output: "x", Path: "no-such"}`, bad: true},
	}
	for _, c := range cases {
		t.Run(c.path+" "+c.code, func(t *testing.T) {
			name, imported, renamed := strings.Cut(c.imports, " ")
			if !renamed {
				name, imported = "", c.imports
			}
			other, ok := strings.CutPrefix(imported, "!")
			if !ok {
				other = module + "/" + imported
			}
			f := file{path: c.path, text: fmt.Sprintf("package x\n\nimport %s %q\n\nvar _ = %s\n", name, other, c.code)}
			if bad := unlistedPrograms([]file{f}); (len(bad) > 0) != c.bad {
				t.Errorf("found %q, want a violation: %v", bad, c.bad)
			}
		})
	}
}

func TestAmbiguousAliases(t *testing.T) {
	importing := func(path, imports string) file {
		f, err := parseFile(path, "package x\nimport "+imports)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	cases := map[string]struct {
		imports []string
		bad     bool
	}{
		"none":                 {[]string{`"example.org/a"`, `"example.org/b/a"`}, false},
		"the same twice":       {[]string{`x "example.org/a"`, `x "example.org/a"`}, false},
		"two":                  {[]string{`x "example.org/a"`, `x "example.org/b"`}, true},
		"another's own name":   {[]string{`a "example.org/b"`, `"example.org/a"`}, true},
		"imported for effects": {[]string{`_ "example.org/a"`, `_ "example.org/b"`}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var files []file
			for _, imports := range c.imports {
				files = append(files, importing("pool/pool.go", imports))
			}
			if bad := ambiguousAliases(files); (len(bad) > 0) != c.bad {
				t.Errorf("found %q, want a violation: %v", bad, c.bad)
			}
		})
	}
}

func TestUndocumented(t *testing.T) {
	cases := []struct {
		name  string
		files []file
		bad   bool
	}{
		{"a comment", []file{source(t, "pool/pool.go", "// Package pool pools.\npackage pool")}, false},
		{"a comment in another file", []file{source(t, "pool/a.go", "package pool"), source(t, "pool/doc.go", "// Package pool pools.\npackage pool")}, false},
		{"a command", []file{source(t, "cmd/fly/main.go", "// Command fly flies.\npackage main")}, false},
		{"no comment", []file{source(t, "pool/pool.go", "package pool")}, true},
		{"a comment about something else", []file{source(t, "pool/pool.go", "// Some notes.\npackage pool")}, true},
		{"a comment that is not attached", []file{source(t, "pool/pool.go", "// Package pool pools.\n\npackage pool")}, true},
		{"a command called a package", []file{source(t, "cmd/fly/main.go", "// Package main flies.\npackage main")}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if bad := undocumented(c.files); (len(bad) > 0) != c.bad {
				t.Errorf("found %q, want a violation: %v", bad, c.bad)
			}
		})
	}
}

func TestVaguelyNamed(t *testing.T) {
	cases := []struct {
		path, name string
		bad        bool
	}{
		{"pool/pool.go", "pool", false},
		{"network/commonname/x.go", "commonname", false},
		{"pool/util/x.go", "util", true},
		{"pool/utils/x.go", "utils", true},
		{"common/x.go", "common", true},
		{"pool/helpers/x_test.go", "helpers_test", true},
		{"pool/helper/deeper/x.go", "deeper", true},
		{"pool/records/x.go", "shared", true},
		{"misc/x.go", "misc", true},
	}
	for _, c := range cases {
		t.Run(c.path, func(t *testing.T) {
			if bad := vaguelyNamed([]file{{path: c.path, name: c.name}}); (len(bad) > 0) != c.bad {
				t.Errorf("found %q, want a violation: %v", bad, c.bad)
			}
		})
	}
}
