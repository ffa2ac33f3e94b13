package bhyve

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakeguest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// bin is a directory with the fakes, first in PATH.
var bin string

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m, sandbox.Programs(&bin))) }

// freebsd is a host of the fake's, with an image of a FreeBSD as a file.
type freebsd struct {
	t     *testing.T
	dir   string // MAYFLY_FAKE_BHYVE
	state string
}

func newFreeBSD(t *testing.T) *freebsd {
	t.Helper()
	sandbox.Need(t, "go", "ssh-keygen", "cp")
	sandbox.Install(t, bin, "fakes/fakebhyve", "vm", "sysrc", "zfs", "bhyvectl", "arp", "pkg", "sudo")
	state, err := os.MkdirTemp("", "mf-")
	require.NoError(t, err)
	f := &freebsd{t: t, dir: filepath.Join(state, "host"), state: state}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(state)) })
	t.Cleanup(f.requireNoViolations)
	t.Cleanup(f.killAll)
	t.Setenv("MAYFLY_FAKE_BHYVE", f.dir)
	t.Setenv("MAYFLY_FAKE_VMM", f.devices())
	f.write("rc.conf", `vm_dir="zfs:zroot/vm"`+"\n")
	f.write("vm/.templates/default.conf", "loader=\"uefi\"\nnetwork0_switch=\"public\"\n")
	f.publish(fakeguest.FreeBSD)
	return f
}

func (f *freebsd) path(name string) string { return filepath.Join(f.dir, name) }
func (f *freebsd) devices() string         { return f.path("vmm") }
func (f *freebsd) image() string           { return f.path("freebsd.raw") }

func (f *freebsd) write(name, text string) {
	f.t.Helper()
	require.NoError(f.t, os.MkdirAll(filepath.Dir(f.path(name)), 0o755))
	require.NoError(f.t, os.WriteFile(f.path(name), []byte(text), 0o644))
}

func (f *freebsd) publish(system string) {
	f.t.Helper()
	text, err := json.Marshal(fakeguest.Disk{System: system, User: "freebsd"})
	require.NoError(f.t, err)
	f.write("freebsd.raw", string(text))
}

// fails makes something fail until the returned function is called.
func (f *freebsd) fails(what string) (mend func()) {
	f.t.Helper()
	f.write("fail/"+what, "")
	return func() { require.NoError(f.t, os.Remove(f.path("fail/"+what))) }
}

func (f *freebsd) requireNoViolations() {
	text, err := os.ReadFile(f.path("violations"))
	if err == nil {
		require.Empty(f.t, string(text), "what vm-bhyve lets pass and nobody should do")
	}
}

// killAll ends what a failed test left.
func (f *freebsd) killAll() {
	entries, _ := os.ReadDir(f.devices()) // none is none
	for _, entry := range entries {
		f.t.Errorf("guest %s was left running", entry.Name())
		f.kill(entry.Name())
	}
}

func (f *freebsd) kill(name string) {
	text, err := os.ReadFile(filepath.Join(f.devices(), name))
	require.NoError(f.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(f.t, err)
	require.NoError(f.t, syscall.Kill(pid, syscall.SIGINT))
}

func (f *freebsd) guests() []string {
	entries, _ := os.ReadDir(f.path("vm")) // none is none
	var names []string
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			names = append(names, entry.Name())
		}
	}
	return names
}

func (f *freebsd) options() Options {
	return Options{
		Options: foreigntool.Options{
			Pool: "p", WorkersDir: filepath.Join(f.state, "pool", "workers"),
			ImagesDir: filepath.Join(f.state, "images"), StateDir: f.state,
			Source: image.Source{Kind: image.Local, Location: f.image()}, User: "freebsd",
		},
		Template: "default", Leases: Kea, LeasesFile: f.path("kea-leases4.csv"), Devices: f.devices(),
	}
}

func (f *freebsd) recipe() image.Recipe {
	return image.Recipe{
		Source: image.Source{Kind: image.Local, Location: f.image()},
		Run:    []string{"echo built >/etc/built"}, User: "freebsd", Disk: 10 << 30, CPUs: 2, Memory: 2 << 30,
	}
}

// harness is one of a pool's, all of which share the host.
func (f *freebsd) harness(pool string) backendtest.Harness {
	options := f.options()
	options.Pool, options.WorkersDir = pool, filepath.Join(f.state, pool, "workers")
	return backendtest.Harness{
		Backend: New(options),
		Again:   func(*testing.T) backend.Backend { return New(options) },
		Kill:    func(_ *testing.T, id string) { f.kill(id) },
		Other:   func(*testing.T) backendtest.Harness { return f.harness("other") },
		Name:    pool, Dir: filepath.Join(f.state, pool),
		Recipe: f.recipe(), CPUs: 2, Memory: 2 << 30, Patience: 2 * time.Minute,
	}
}

// TestConformance has one host for the whole suite, so that the image is built
// once.
func TestConformance(t *testing.T) {
	f := newFreeBSD(t)
	backendtest.Run(t, func(*testing.T) backendtest.Harness { return f.harness("p") })
}
