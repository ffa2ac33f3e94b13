//go:build linux

package cloudhypervisor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/user"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	fake "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakecloudhypervisor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// stateDir is what the tests share. It is new for each run.
var stateDir string

// requestsFile is what the machine that was launched last has printed.
func requestsFile() string { return filepath.Join(stateDir, "requests") }

// recorder is the driver, and keeps what its last machine prints.
type recorder struct{ Driver }

func (r *recorder) Launch(place vmm.Place, spec vmm.Spec) (vmm.Monitor, error) {
	m, err := r.Driver.Launch(place, spec)
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(requestsFile()); err != nil {
		return nil, err
	}
	return m, os.Link(filepath.Join(place.Dir, outputFile), requestsFile())
}

// binary is a script that becomes the fake, with the variables that say how it
// behaves: a machine gets none of ours.
func binary() string { return filepath.Join(stateDir, "bin", "cloud-hypervisor") }

const script = `#!/bin/sh
here=$(dirname "$0")/..
. "$here/share/behaviour"
exec "$here/lib/cloud-hypervisor" "$@"
`

// behave sets one of the fake's variables until the end of the test.
func behave(t testing.TB, name, value string) {
	t.Helper()
	path := filepath.Join(stateDir, "share", "behaviour")
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, fmt.Appendf(before, "export %s=%s\n", name, value), 0o644))
	t.Cleanup(func() { require.NoError(t, os.WriteFile(path, before, 0o644)) })
}

func imagesDir() string { return filepath.Join(stateDir, "images") }

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m, sandbox.Directory(&stateDir))) }

// once makes something in stateDir at the first call.
func once(t testing.TB, name string, makeIt func() error) string {
	t.Helper()
	path := filepath.Join(stateDir, name)
	if _, err := os.Stat(path); err != nil {
		require.NoError(t, makeIt())
	}
	return path
}

func size() backend.Size { return backend.Size{CPUs: 1, Memory: 512 << 20} }

// world is a backend with a real network, in the sandbox's namespace, and the
// fake of Cloud Hypervisor with QEMU behind it.
type world struct {
	*vmm.Backend
	driver  *recorder
	options vmm.Options
	dir     string
	network *island.Island
}

// again is the backend without memory, as after a restart of the plugin.
func (w world) again() *vmm.Backend { return vmm.New(w.driver, w.options) }

func newWorld(t testing.TB, name string) world {
	t.Helper()
	sandbox.Need(t, "qemu-system-x86_64", "qemu-img", "mmdebstrap", "mkfs.ext4", "go")
	if device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		t.Skip("the probe wants a device to try, although nothing is run with it: ", err)
	} else {
		require.NoError(t, device.Close())
	}
	once(t, "bin", func() error {
		for _, dir := range []string{"lib", "share", "bin"} {
			require.NoError(t, os.MkdirAll(filepath.Join(stateDir, dir), 0o755))
		}
		_, err := fake.Build(filepath.Join(stateDir, "lib"))
		return errors.Join(err,
			os.WriteFile(filepath.Join(stateDir, "share", "behaviour"), nil, 0o644),
			os.WriteFile(binary(), []byte(script), 0o755))
	})
	dir := filepath.Join(stateDir, "pools", name)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	net, err := island.New(island.Options{
		PoolDir: dir, Pool: name, AddressDir: filepath.Join(stateDir, "addresses"),
		Subnet: netip.MustParsePrefix("10.210.0.0/16"), Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	w := world{driver: &recorder{Driver{Binary: binary()}}, dir: dir, network: net, options: vmm.Options{
		Pool: name, WorkersDir: filepath.Join(dir, "workers"), ImagesDir: imagesDir(), StateDir: stateDir,
		// One template serves all tests: each takes a boot.
		Fork: true, ShareMemory: true, TemplatesDir: filepath.Join(stateDir, "templates"),
		Source: image.Debootstrap, Network: net, Log: slog.New(slog.DiscardHandler),
	}}
	w.Backend = w.again()
	return w
}

func (w world) tag() process.Tag {
	tag := w.driver.Traits().Tag
	tag.WorkersDir = w.options.WorkersDir
	return tag
}

// opened is a world whose network is open, with the golden image.
func (w world) opened(t testing.TB) image.Golden {
	t.Helper()
	require.NoError(t, w.network.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, w.network.Close(context.Background())) })
	golden, err := w.Build(t.Context(), testrun.Golden(t, imagesDir()), func(stage, line string) { t.Log(stage, line) })
	require.NoError(t, err)
	return golden
}

func quiet(string, string) {}

// TestConformance has workers that are forks, since those take no boot; clones
// are in TestAMachineTellsWhyItEnded and TestBrokenTemplatesMeanClones.
func TestConformance(t *testing.T) {
	prepared := false
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		w := newWorld(t, "conform")
		if !prepared {
			behave(t, fake.Requests, "yes")
			require.NoError(t, w.Prepare(t.Context(), w.opened(t), size(), nil, nil, quiet))
			requireOnlyGoodRequests(t, "vm.create", "vm.boot", "vm.pause", "vm.snapshot")
			prepared = true
		}
		h := w.harness(t, "conform")
		h.Other = func(t *testing.T) backendtest.Harness { return newWorld(t, "other").harness(t, "other") }
		return h
	})
}

func (w world) harness(t *testing.T, name string) backendtest.Harness {
	return backendtest.Harness{
		Backend: w.Backend,
		Again:   func(*testing.T) backend.Backend { return w.again() },
		Kill:    func(t *testing.T, id string) { killFromOutside(t, w, id) },
		Fill:    sandbox.Fill,
		Name:    name, Dir: w.dir, Network: w.network,
		Recipe: testrun.Golden(t, imagesDir()), CPUs: size().CPUs, Memory: size().Memory,
		Patience: testrun.Patience(t),
	}
}

func killFromOutside(t *testing.T, w world, id string) {
	t.Helper()
	found, err := w.tag().Find(id)
	require.NoError(t, err)
	require.Len(t, found, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, found[0].Kill(ctx))
}

// requireOnlyGoodRequests reads what was sent since fake.Requests was set, and
// wants it to be these calls.
func requireOnlyGoodRequests(t *testing.T, want ...string) {
	t.Helper()
	text, err := os.ReadFile(requestsFile())
	require.NoError(t, err)
	var calls []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var request fake.Request
		require.NoError(t, json.Unmarshal(lines.Bytes(), &request))
		require.Equal(t, 204, request.Status, request)
		calls = append(calls, request.Call)
		require.NoError(t, fake.CheckBody(request.Call, []byte(request.Body)))
	}
	require.Equal(t, want, calls)
}

// TestADraftIsBootedAndPowersItselfOff has a copy of the golden image for a
// draft: its agent answers as that of a draft does, and much sooner.
func TestADraftIsBootedAndPowersItselfOff(t *testing.T) {
	w := newWorld(t, "draft")
	golden := w.opened(t)
	behave(t, fake.Requests, "yes")
	draft := image.Golden{Dir: t.TempDir()}
	spec := vmm.Spec{
		Accel: kvm.KVM, CPUs: 1, Memory: size().Memory, Kernel: draft.Kernel(), Initrd: draft.Initrd(), Root: golden.Root,
		Disk: draft.Disk(), Format: "raw", Seed: filepath.Join(draft.Dir, "seed"), Console: filepath.Join(draft.Dir, "console"), Network: true,
	}
	require.NoError(t, disk.SparseCopy(t.Context(), golden.Disk(), draft.Disk()))
	require.NoError(t, os.Link(golden.Kernel(), draft.Kernel()))
	require.NoError(t, os.Link(golden.Initrd(), draft.Initrd()))
	require.NoError(t, disk.Create(spec.Seed, 1<<20))

	var said bytes.Buffer
	place := stage.Stage{Pool: w.options.Pool, WorkersDir: w.options.WorkersDir, Network: w.network, Destroy: w.Destroy}
	require.NoError(t, place.Run(t.Context(), "draft", func(at stage.Place) error {
		spec.State = filepath.Join(at.Dir, "state")
		m, err := w.driver.Launch(vmm.Place{
			ID: at.ID, Dir: at.Dir, Namespace: at.Lease.Namespace, Tag: w.tag().Value(at.ID),
			User: user.First, Units: process.Units{WorkersDir: w.options.WorkersDir},
		}, spec)
		if err != nil {
			return err
		}
		if err := m.Boot(t.Context()); err != nil {
			return err
		}
		conn, err := m.Agent(t.Context())
		if err != nil {
			return err
		}
		defer conn.Close()
		agent := guest.NewClient(conn)
		if err := errors.Join(agent.Run(t.Context(), "cat /etc/mayfly-step", &said), agent.PowerOff(t.Context())); err != nil {
			return err
		}
		<-m.Process().Done()
		<-m.Heard()
		require.ErrorIs(t, m.Process().Err(), process.ErrSucceeded)
		_, poweredOff := m.End()
		require.True(t, poweredOff)
		return nil
	}))
	require.Equal(t, "a: b\n", said.String())
	requireOnlyGoodRequests(t, "vm.create", "vm.boot")
}

// started is a worker with what it takes to log in.
type started struct {
	backend.Machine
	spec backend.Spec
	key  pool.Key
}

// start makes a worker that the end of the test removes.
func (w world) start(t *testing.T, golden image.Golden, end string) (s started, err error) {
	t.Helper()
	id := filepath.Base(w.dir) + "-" + end
	dir := filepath.Join(w.dir, "workers", id)
	require.NoError(t, os.MkdirAll(dir, 0o700))
	lease, err := w.network.Acquire(t.Context(), id)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, w.tag().Kill(context.Background(), id))
		require.NoError(t, w.network.Release(context.Background(), id))
		require.NoError(t, os.RemoveAll(dir))
	})
	s.spec = backend.Spec{ID: id, Dir: dir, Size: size(), Lease: lease}
	s.spec.Identity, s.key, err = access.SSH{}.New(id, "mayfly")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), testrun.Patience(t))
	defer cancel()
	if s.Machine, err = w.Start(ctx, golden, s.spec); err != nil {
		return s, err
	}
	return s, s.ready(ctx)
}

func (s started) ready(ctx context.Context) error {
	return access.SSH{}.Ready(ctx, s.Address(), s.spec.Identity, s.key)
}

// TestAMachineTellsWhyItEnded has machines whose guest does what ends a worker.
func TestAMachineTellsWhyItEnded(t *testing.T) {
	w := newWorld(t, "ends")
	w.options.Fork = false
	w.Backend = w.again()
	golden := w.opened(t)
	for what, want := range map[string]string{
		"panic":     "the guest's kernel panicked",
		"reboot":    "the guest rebooted",
		"vm.boot":   "vm.boot: status 500",
		"vm.create": "vm.create: status 500",
	} {
		behave(t, fake.Fails, what)
		_, err := w.start(t, golden, "e"+strings.Repeat("a", 7))
		require.ErrorContains(t, err, want)
		require.NoError(t, w.Destroy(t.Context(), "ends-eaaaaaaa"))
		require.NoError(t, w.network.Release(t.Context(), "ends-eaaaaaaa"))
		require.NoError(t, os.RemoveAll(filepath.Join(w.dir, "workers", "ends-eaaaaaaa")))
	}
}
