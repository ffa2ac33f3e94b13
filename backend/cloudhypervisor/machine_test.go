//go:build linux

package cloudhypervisor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	fake "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/cloudhypervisor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/sandbox"
)

// stateDir is what the tests share, so that the golden image is built once. It
// is new for each run.
var stateDir string

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m, func() func() {
		dir, err := os.MkdirTemp("", "mf-") // short: it holds sockets
		if err != nil {
			panic(err)
		}
		stateDir = dir
		return func() { _ = os.RemoveAll(dir) }
	}))
}

// once makes something in stateDir at the first call.
func once(t testing.TB, name string, makeIt func() error) string {
	t.Helper()
	path := filepath.Join(stateDir, name)
	if _, err := os.Stat(path); err != nil {
		require.NoError(t, makeIt())
	}
	return path
}

func recipe(t testing.TB) image.Recipe {
	t.Helper()
	agent := once(t, "fleeting-plugin-mayfly", func() error {
		build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(stateDir, "fleeting-plugin-mayfly"), "../../cmd/fleeting-plugin-mayfly")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		return build.Run()
	})
	return image.Recipe{
		Source: image.Source{Kind: image.Debootstrap}, Run: []string{"echo 'a: b' > /etc/mayfly-step"},
		User: "mayfly", Disk: 4 << 30, CPUs: 2, Memory: 1 << 30, Agent: agent,
	}
}

func size() backend.Size { return backend.Size{CPUs: 1, Memory: 512 << 20} }

// world is a backend with a real network, in the sandbox's namespace, and the
// stand-in for Cloud Hypervisor with QEMU behind it.
type world struct {
	*Backend
	dir     string
	network *island.Island
}

func newWorld(t testing.TB, name string) world {
	t.Helper()
	sandbox.Need(t, "qemu-system-x86_64", "qemu-img", "mmdebstrap", "mkfs.ext4", "setpriv", "go")
	if device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		t.Skip("the probe wants a device to try, although nothing is run with it: ", err)
	} else {
		require.NoError(t, device.Close())
	}
	once(t, "cloud-hypervisor", func() error {
		_, err := fake.Build(stateDir)
		return err
	})
	dir := filepath.Join(stateDir, "pools", name)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	net, err := island.New(island.Options{
		PoolDir: dir, Pool: name, AddressDir: filepath.Join(stateDir, "addresses"),
		Subnet: netip.MustParsePrefix("10.210.0.0/16"), Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	return world{newBackend(name, dir, net), dir, net}
}

func newBackend(name, dir string, net *island.Island) *Backend {
	return New(Options{
		Pool: name, WorkersDir: filepath.Join(dir, "workers"), ImagesDir: filepath.Join(stateDir, "images"), StateDir: stateDir,
		// One template serves all tests: each takes a boot.
		Fork: true, ShareMemory: true, TemplatesDir: filepath.Join(stateDir, "templates"),
		Source: image.Debootstrap, Network: net, Log: slog.New(slog.DiscardHandler),
		Binary: filepath.Join(stateDir, "cloud-hypervisor"),
	})
}

// opened is a world whose network is open, with the golden image.
func (w world) opened(t testing.TB) image.Golden {
	t.Helper()
	require.NoError(t, w.network.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, w.network.Close(context.Background())) })
	golden, err := w.Build(t.Context(), recipe(t), func(stage, line string) { t.Log(stage, line) })
	require.NoError(t, err)
	return golden
}

func quiet(string, string) {}

// TestConformance has workers that are forks, since those take no boot; the
// clones are in TestAMachineTellsWhyItEnded and in the prebuild.
func TestConformance(t *testing.T) {
	const name = "conform"
	prepared := false
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		w := newWorld(t, name)
		if !prepared {
			t.Setenv(fake.Requests, filepath.Join(stateDir, "requests"))
			require.NoError(t, w.Prepare(t.Context(), w.opened(t), size(), quiet))
			requireOnlyGoodRequests(t)
			prepared = true
		}
		return backendtest.Harness{
			Backend: w.Backend,
			Again:   func(*testing.T) backend.Backend { return newBackend(name, w.dir, w.network) },
			Kill:    func(t *testing.T, id string) { killFromOutside(t, w, id) },
			Name:    name, Dir: w.dir, Network: w.network,
			Recipe: recipe(t), CPUs: size().CPUs, Memory: size().Memory, Patience: 3 * time.Minute,
		}
	})
}

func killFromOutside(t *testing.T, w world, id string) {
	t.Helper()
	found, err := w.tag.Find(id)
	require.NoError(t, err)
	require.Len(t, found, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, found[0].Kill(ctx))
}

// requireOnlyGoodRequests reads what a prebuild and a template have sent.
func requireOnlyGoodRequests(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(stateDir, "requests"))
	require.NoError(t, err)
	schemas, err := fake.ReadSchemas()
	require.NoError(t, err)
	bodies := map[string]string{"vm.create": "VmConfig", "vm.snapshot": "VmSnapshotConfig", "vm.restore": "RestoreConfig"}
	var calls []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var request fake.Request
		require.NoError(t, json.Unmarshal(lines.Bytes(), &request))
		require.Equal(t, 204, request.Status, request)
		calls = append(calls, request.Call)
		if schema := bodies[request.Call]; schema != "" {
			require.NoError(t, schemas.Check(schema, []byte(request.Body)))
		} else {
			require.Empty(t, request.Body, request.Call)
		}
	}
	require.Equal(t, []string{"vm.create", "vm.boot", "vm.create", "vm.boot", "vm.pause", "vm.snapshot"}, calls)
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
		require.NoError(t, w.tag.Kill(context.Background(), id))
		require.NoError(t, w.network.Release(context.Background(), id))
		require.NoError(t, os.RemoveAll(dir))
	})
	s.spec = backend.Spec{ID: id, Dir: dir, Size: size(), Lease: lease}
	s.spec.Identity, s.key, err = access.SSH{}.New(id, "mayfly")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if s.Machine, err = w.Start(ctx, golden, s.spec); err != nil {
		return s, err
	}
	return s, s.ready(ctx)
}

func (s started) ready(ctx context.Context) error {
	return access.SSH{}.Ready(ctx, s.Address(), s.spec.Identity, s.key)
}

// TestSuspendedForkGoesOn puts a fork away and brings it back with a backend
// without memory, as after a restart of the plugin, while its template is gone.
func TestSuspendedForkGoesOn(t *testing.T) {
	w := newWorld(t, "suspend")
	golden := w.opened(t)
	require.NoError(t, w.Prepare(t.Context(), golden, size(), quiet))
	s, err := w.start(t, golden, "aaaaaaaa")
	require.NoError(t, err)
	require.Equal(t, backend.Fork, s.How())
	require.NoError(t, os.Rename(w.options.TemplatesDir, w.options.TemplatesDir+"-away"))
	defer func() { require.NoError(t, os.Rename(w.options.TemplatesDir+"-away", w.options.TemplatesDir)) }()

	dir := s.spec.Dir
	for range 3 {
		old := s.Machine
		require.ErrorContains(t, w.Resumable(dir), "nothing was saved")
		require.NoError(t, w.Suspend(t.Context(), old.ID()))
		<-old.Done()
		w.Backend = newBackend(w.options.Pool, w.dir, w.network)
		require.NoError(t, w.Resumable(dir))
		s.Machine, err = w.Resume(t.Context(), backend.Spec{ID: old.ID(), Dir: dir, Lease: s.spec.Lease})
		require.NoError(t, err)
		require.Equal(t, backend.Fork, s.How())
		require.Equal(t, old.Address(), s.Address())
		require.NoError(t, s.ready(t.Context()))
		left, err := os.ReadDir(savedPath(dir))
		require.NoError(t, err)
		require.Empty(t, left, "what was saved is of the past now")
	}
	require.ErrorContains(t, w.Suspend(t.Context(), "suspend-unknown1"), "no machine of this process")

	file := filepath.Join(dir, suspendedFile)
	require.NoError(t, os.WriteFile(file, []byte(`{"platform": {"binary": "/another"}}`), 0o600))
	require.ErrorContains(t, w.Resumable(dir), "another Cloud Hypervisor")
}

// requireNoCapabilities also looks at QEMU behind the stand-in, which attaches
// to the TAP device without any.
func requireNoCapabilities(t *testing.T, w world, id string) {
	t.Helper()
	found, err := w.tag.Find(id)
	require.NoError(t, err)
	require.Len(t, found, 1)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", found[0].PID))
	require.NoError(t, err)
	for _, line := range []string{"CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "NoNewPrivs:\t1\n"} {
		require.Contains(t, string(status), line)
	}
}

// TestAMachineTellsWhyItEnded has machines whose guest does what ends a worker.
func TestAMachineTellsWhyItEnded(t *testing.T) {
	w := newWorld(t, "ends")
	w.options.Fork = false
	golden := w.opened(t)
	for what, want := range map[string]string{
		"panic":     "the guest's kernel panicked",
		"reboot":    "the guest rebooted",
		"vm.boot":   "vm.boot: status 500",
		"vm.create": "vm.create: status 500",
	} {
		t.Setenv(fake.Fails, what)
		_, err := w.start(t, golden, "e"+strings.Repeat("a", 7))
		require.ErrorContains(t, err, want)
		require.NoError(t, w.Destroy(t.Context(), "ends-eaaaaaaa"))
		require.NoError(t, w.network.Release(t.Context(), "ends-eaaaaaaa"))
		require.NoError(t, os.RemoveAll(filepath.Join(w.dir, "workers", "ends-eaaaaaaa")))
	}
}

func TestCheckSaysWhatIsMissing(t *testing.T) {
	w := newWorld(t, "check")
	found := func() map[string]backend.Finding {
		byName := map[string]backend.Finding{}
		for _, finding := range w.Check(t.Context()) {
			require.NotEmpty(t, finding.Detail)
			require.Equal(t, finding.Level == backend.OK, finding.Mend == "", finding)
			byName[filepath.Base(finding.What)] = finding
		}
		return byName
	}
	require.Equal(t, backend.OK, found()["cloud-hypervisor"].Level)
	require.Contains(t, found(), "setpriv")
	require.Contains(t, found(), "landlock")
	for release, want := range map[string]backend.Level{"v50.2": backend.Missing, "v51.1": backend.Warning, "v53.1": backend.OK, "nonsense": backend.Missing} {
		t.Setenv(fake.Release, release)
		require.Equal(t, want, found()["cloud-hypervisor"].Level, release)
	}
	w.options.Binary = filepath.Join(t.TempDir(), "none")
	require.Equal(t, backend.Missing, found()["none"].Level)
	w.options.Source = image.HTTPS
	require.Equal(t, backend.Warning, found()["image.source"].Level)
}

// TestWithoutKVMNothingHangs has a probe in which no kernel boots.
func TestWithoutKVMNothingHangs(t *testing.T) {
	w := newWorld(t, "nokvm")
	t.Setenv(fake.Fails, "probe")
	w.prober.Memory = filepath.Join(t.TempDir(), "answer")
	kernel := filepath.Join(t.TempDir(), image.KernelFile)
	require.NoError(t, os.WriteFile(kernel, nil, 0o600))
	_, err := w.Start(t.Context(), image.Golden{Dir: filepath.Dir(kernel)}, backend.Spec{ID: "nokvm-aaaaaaaa", Dir: t.TempDir(), Size: size()})
	require.ErrorContains(t, err, "a kernel did not boot on it")
}

// TestBrokenTemplatesMeanClones comes last: it removes the template.
func TestBrokenTemplatesMeanClones(t *testing.T) {
	w := newWorld(t, "broken")
	golden := w.opened(t)
	require.NoError(t, w.Prepare(t.Context(), golden, size(), quiet))
	good, ok := w.template(golden, size())
	require.True(t, ok)
	require.NoFileExists(t, filepath.Join(good.State(), "memory-ranges"), "the memory is in a file of its own")

	w.options.ShareMemory = false
	m, err := w.start(t, golden, "aaaaaaaa")
	require.NoError(t, err)
	require.Equal(t, backend.Fork, m.How())
	maps, err := exec.Command("sh", "-c", "cat /proc/*/maps 2>/dev/null | grep -F "+stateDir+" || true").Output()
	require.NoError(t, err)
	require.Contains(t, string(maps), filepath.Join(w.dir, "workers", m.ID(), memoryFile))
	require.NotContains(t, string(maps), good.Memory(), "no page is shared")
	requireNoCapabilities(t, w, m.ID())

	t.Setenv(fake.Fails, "vm.restore")
	m, err = w.start(t, golden, "bbbbbbbb")
	require.NoError(t, err)
	require.Equal(t, backend.Clone, m.How())
	require.NoError(t, w.Destroy(t.Context(), m.ID()))
	require.ErrorContains(t, m.Err(), "Cloud Hypervisor")

	w.options.Fork = false
	require.NoError(t, w.Prepare(t.Context(), golden, size(), quiet))
	require.NoDirExists(t, good.Dir, "without forks nothing is kept for them")
}
