//go:build linux

package qemu

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// stateDir is what the tests share. It is new for each run.
var stateDir string

// subnet holds the workers of all tests.
var subnet = netip.MustParsePrefix("10.210.0.0/16")

func imagesDir() string    { return filepath.Join(stateDir, "images") }
func templatesDir() string { return filepath.Join(stateDir, "templates") }

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m, sandbox.Directory(&stateDir))) }

// recorder is the driver, and knows what it has launched last for each worker.
type recorder struct {
	Driver
	mu       sync.Mutex
	launched map[string]*machine
}

func (r *recorder) Launch(place vmm.Place, spec vmm.Spec) (vmm.Monitor, error) {
	m, err := r.Driver.Launch(place, spec)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.launched[place.ID] = m.(*machine)
	return m, nil
}

func (r *recorder) of(id string) *machine {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.launched[id]
}

// cpus are what machines of these tests have, and their devices queues for.
const cpus = 2

// world is a backend with a real network, in the sandbox's namespace.
type world struct {
	*vmm.Backend
	driver  *recorder
	options vmm.Options
	dir     string
	network *island.Island
}

// again is the backend without memory, as after a restart of the plugin.
func (w *world) again() *vmm.Backend { return vmm.New(w.driver, w.options) }

func newWorld(t testing.TB, pool string) world {
	t.Helper()
	sandbox.Need(t, "qemu-system-x86_64", "qemu-img", "mmdebstrap", "mkfs.ext4")
	dir := filepath.Join(stateDir, "pools", pool)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	net, err := island.New(island.Options{
		PoolDir: dir, Pool: pool, AddressDir: filepath.Join(stateDir, "addresses"),
		Policy: network.Policy{Search: []string{"corp.test"}},
		Subnet: subnet, Queues: network.Queues(cpus), Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	driver := &recorder{Driver: New("", Limits{}, slog.New(slog.DiscardHandler)), launched: map[string]*machine{}}
	w := world{driver: driver, dir: dir, network: net, options: vmm.Options{
		Pool: pool, WorkersDir: filepath.Join(dir, "workers"), ImagesDir: imagesDir(), StateDir: stateDir,
		// One template serves all tests: each takes a boot.
		Fork: true, ShareMemory: true, TemplatesDir: templatesDir(),
		Source: image.Debootstrap, Network: net, Queues: network.Queues(cpus), Log: slog.New(slog.DiscardHandler),
	}}
	w.Backend = w.again()
	return w
}

// TestConformance has workers that are forks, since those take no boot; clones
// are in TestSuspendedClone, TestBrokenTemplatesMeanClones and TestCloudImage.
func TestConformance(t *testing.T) {
	newForks(t, "prepare")
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		h := harness(t, "conform")
		h.Other = func(t *testing.T) backendtest.Harness { return harness(t, "other") }
		return h
	})
}

func harness(t *testing.T, pool string) backendtest.Harness {
	w := newWorld(t, pool)
	return backendtest.Harness{
		Backend: w.Backend,
		Again:   func(*testing.T) backend.Backend { return w.again() },
		Kill:    func(t *testing.T, id string) { killFromOutside(t, w.tag().Value(id)) },
		Fill:    sandbox.Fill,
		Name:    pool, Dir: w.dir, Network: w.network,
		Recipe: testrun.Golden(t, imagesDir()), CPUs: forkSize.CPUs, Memory: forkSize.Memory,
		Patience: testrun.Patience(t),
	}
}

func (w *world) tag() process.Tag {
	tag := w.driver.Traits().Tag
	tag.WorkersDir = w.options.WorkersDir
	return tag
}

func killFromOutside(t *testing.T, tag string) {
	t.Helper()
	found, err := process.Find(func(arguments []string) bool {
		return strings.Contains(strings.Join(arguments, " "), "-name "+tag+" ")
	})
	require.NoError(t, err)
	require.Len(t, found, 1)
	for running := range found {
		child, err := process.Adopt(running)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, child.Kill(ctx))
	}
}

// TestCancelledBuildLeavesNothing has a disk with nothing on it, so that the
// firmware looks for a system until it is called off.
func TestCancelledBuildLeavesNothing(t *testing.T) {
	w := newWorld(t, "nobuild")
	require.NoError(t, w.network.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, w.network.Close(context.Background())) })
	blank := filepath.Join(t.TempDir(), "blank.raw")
	forever := []byte{0xeb, 0xfe} // a jump to itself, for a BIOS
	sector := slices.Concat(forever, make([]byte, 510-len(forever)), []byte{0x55, 0xaa})
	require.NoError(t, os.WriteFile(blank, sector, 0o600))
	require.NoError(t, os.Truncate(blank, 1<<20))
	recipe := image.Recipe{
		Source: image.Source{Kind: image.Local, Location: blank}, User: "mayfly",
		Disk: 1 << 30, CPUs: 1, Memory: 256 << 20, Agent: testrun.Program(t),
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := w.Build(ctx, recipe, func(stage, line string) { t.Log(stage, line) })
		ended <- err
	}()
	require.Eventually(t, func() bool {
		machines, err := w.Find(t.Context())
		return err == nil && len(machines) == 1
	}, testrun.Patience(t), 10*time.Millisecond, "its machine starts")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.NoDirExists(t, filepath.Join(imagesDir(), recipe.Digest()))
	machines, err := w.Find(t.Context())
	require.NoError(t, err)
	require.Empty(t, machines)
	leases, err := w.network.Find(t.Context())
	require.NoError(t, err)
	require.Empty(t, leases)
	building, err := filepath.Glob(filepath.Join(imagesDir(), ".building-*"))
	require.NoError(t, err)
	require.Empty(t, building)
}

// TestMachineThatCannotStartSaysWhy gives QEMU a kernel that is none.
func TestMachineThatCannotStartSaysWhy(t *testing.T) {
	w := newWorld(t, "broken")
	dir := t.TempDir()
	rubbish := image.Golden{Dir: dir, Manifest: image.Manifest{Root: "root=/dev/vda"}}
	for _, path := range []string{rubbish.Disk(), rubbish.Kernel(), rubbish.Initrd()} {
		require.NoError(t, os.WriteFile(path, []byte("rubbish"), 0o600))
	}
	require.NoError(t, os.Truncate(rubbish.Disk(), 1<<20))
	work, err := os.MkdirTemp(stateDir, "w-")
	require.NoError(t, err)
	require.NoError(t, w.network.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, w.network.Close(context.Background())) })
	const id = "broken-aaaaaaaa"
	lease, err := w.network.Acquire(t.Context(), id)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.network.Release(context.Background(), id)) })
	_, err = w.Start(t.Context(), rubbish, backend.Spec{
		ID: id, Dir: work, Size: backend.Size{CPUs: 1, Memory: 256 << 20}, Lease: lease,
	})
	require.ErrorIs(t, err, guest.ErrGone)
	require.ErrorContains(t, err, "kernel")
	require.NoError(t, w.Destroy(t.Context(), id))
}
