//go:build linux

package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/user"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// forks is a world with a template.
type forks struct {
	world
	golden image.Golden
	size   backend.Size
	// patience bounds the start of a worker.
	patience time.Duration
}

// forkSize is that of the template that all tests share.
var forkSize = backend.Size{CPUs: 1, Memory: 512 << 20}

// tenMinutesOld sets the clock of a template back: that is what its age does.
const tenMinutesOld = "date -s '10 minutes ago'\n"

func newForks(t testing.TB, name string) forks {
	t.Helper()
	f := forks{world: newWorld(t, name), size: forkSize, patience: testrun.Patience(t)}
	f.options.ForkLimit = f.patience // by emulation ten at once take their time
	f.Backend = f.again()
	require.NoError(t, f.network.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, f.network.Close(context.Background())) })
	var err error
	f.golden, err = f.Build(t.Context(), testrun.Golden(t, imagesDir()), func(stage, line string) { t.Log(stage, line) })
	require.NoError(t, err)
	require.NoError(t, f.Prepare(t.Context(), f.golden, f.size, nil, nil, func(string, string) {}))
	return f
}

// sharedTemplate is the one that all tests share.
func (f forks) sharedTemplate(t testing.TB) template.Template {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(f.options.TemplatesDir, "*", "template.json"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	text, err := os.ReadFile(found[0])
	require.NoError(t, err)
	var written template.Template
	require.NoError(t, json.Unmarshal(text, &written))
	made, ok := f.shelf().Load(written.Basis)
	require.True(t, ok)
	return made
}

// layoutOf is what the forks of a template see.
func layoutOf(t testing.TB, made template.Template) (l vmm.Layout) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(made.Basis.More), &l))
	return l
}

func (f forks) shelf() *template.Shelf { return &template.Shelf{Dir: f.options.TemplatesDir} }

// ownTemplate gives the backend a copy of the template that it may spoil.
func (f *forks) ownTemplate(t testing.TB) template.Template {
	t.Helper()
	common := f.sharedTemplate(t)
	f.options.TemplatesDir = filepath.Join(f.dir, "templates")
	f.Backend = f.again()
	require.NoError(t, os.MkdirAll(f.options.TemplatesDir, 0o700))
	out, err := exec.Command("cp", "-a", "--sparse=always", common.Dir, f.options.TemplatesDir).CombinedOutput()
	require.NoError(t, err, string(out))
	return f.sharedTemplate(t)
}

// alteredTemplate is a copy of the template whose guest has run a script: it is
// restored, goes on for a while, and is saved again, which takes no boot.
func (f *forks) alteredTemplate(t testing.TB, script string) template.Template {
	t.Helper()
	altered := f.ownTemplate(t)
	spec := vmm.Spec{
		Accel: altered.Basis.Accel, CPUs: f.size.CPUs, Memory: f.size.Memory, Layout: layoutOf(t, altered),
		Kernel: f.golden.Kernel(), Initrd: f.golden.Initrd(), Root: f.golden.Root,
		Format: altered.Format, MemoryFile: altered.Memory(), MemoryUse: vmm.Written,
		Backing: f.golden.Dir, State: filepath.Join(altered.Dir, "saved"), Incoming: true, Network: true,
	}
	at := stage.Stage{Pool: f.options.Pool, WorkersDir: f.options.WorkersDir, Network: f.network, Destroy: f.Destroy}
	require.NoError(t, at.Run(t.Context(), "altering "+f.options.Pool, func(at stage.Place) error {
		spec.Console = filepath.Join(at.Dir, "console.log")
		// A template's disk is sealed, and is what forks share where it is. This machine writes to it, as the
		// template's own did.
		spec.Disk = filepath.Join(at.Dir, "disk")
		if err := errors.Join(os.Link(altered.Disk(), spec.Disk), os.Chmod(spec.Disk, 0o600)); err != nil {
			return err
		}
		m, err := f.driver.Launch(vmm.Place{
			ID: at.ID, Dir: at.Dir, Namespace: at.Lease.Namespace, Tag: f.tag().Value(at.ID),
			User: user.First, Units: process.Units{WorkersDir: f.options.WorkersDir},
		}, spec)
		if err != nil {
			return err
		}
		ctx, cancel := whileRunning(t.Context(), m)
		defer cancel()
		if err := m.Restore(ctx, altered.State()); err != nil {
			said, _ := os.ReadFile(filepath.Join(at.Dir, outputFile))
			return fmt.Errorf("%w: %s", err, said)
		}
		if err := running(ctx, m, func(agent *guest.Client) error { return agent.Run(ctx, script, io.Discard) }); err != nil {
			return err
		}
		return m.Save(ctx)
	}))
	require.NoError(t, os.Rename(spec.State, altered.State()))
	require.NoError(t, errors.Join(os.Chown(altered.Disk(), 0, 0), os.Chmod(altered.Disk(), 0o644)))
	return altered
}

// whileRunning is ctx, ended as well when the machine ends.
func whileRunning(ctx context.Context, m vmm.Monitor) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-m.Process().Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// running lets a restored machine run, and speaks with its agent.
func running(ctx context.Context, m vmm.Monitor, talk func(*guest.Client) error) error {
	if err := m.Continue(ctx); err != nil {
		return err
	}
	agent, err := m.Agent(ctx)
	if err != nil {
		return err
	}
	defer agent.Close()
	return talk(guest.NewClient(agent))
}

// spec is that of a worker with a directory and a lease, which the end of the
// test removes, and the key that belongs to its identity.
func (f forks) spec(t testing.TB, n int) (backend.Spec, pool.Key) {
	t.Helper()
	id := fmt.Sprintf("%s-worker%c%c", filepath.Base(f.dir), 'a'+n/10, 'a'+n%10)
	dir := filepath.Join(f.dir, "workers", id)
	require.NoError(t, os.MkdirAll(dir, 0o700))
	t.Cleanup(func() { f.remove(t, id) })
	lease, err := f.network.Acquire(t.Context(), id)
	require.NoError(t, err)
	identity, key, err := access.SSH{}.New(id, "mayfly")
	require.NoError(t, err)
	identity.Link = guest.LinkOf(lease)
	return backend.Spec{ID: id, Dir: dir, Size: f.size, Lease: lease, Identity: identity}, key
}

// begin starts a worker and waits until it is ready.
func (f forks) begin(ctx context.Context, spec backend.Spec, key pool.Key) (backendtest.Worker, error) {
	ctx, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	m, err := f.Start(ctx, f.golden, spec)
	if err != nil {
		return backendtest.Worker{}, err
	}
	w := backendtest.Worker{Machine: m, Identity: spec.Identity, Key: key}
	return w, w.Ready(ctx)
}

// start makes a worker that the end of the test removes, and waits until it is
// ready.
func (f forks) start(t testing.TB, n int) (backendtest.Worker, error) {
	t.Helper()
	spec, key := f.spec(t, n)
	return f.begin(t.Context(), spec, key)
}

// remove is what a pool's teardown does.
func (f forks) remove(t testing.TB, id string) {
	t.Helper()
	ctx := context.Background()
	require.NoError(t, f.Destroy(ctx, id))
	require.NoError(t, f.network.Release(ctx, id))
	require.NoError(t, os.RemoveAll(filepath.Join(f.dir, "workers", id)))
}

// secrets are what no two workers may have in common, one on a line: the first
// 32 reads from the kernel's generator, a uuid, and the identity.
const secrets = `for i in $(seq 32); do head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '; done
cat /proc/sys/kernel/random/uuid /etc/machine-id; hostname; cat /etc/ssh/ssh_host_ed25519_key.pub`

func TestTenForksAtOnceHaveNothingSecretInCommon(t *testing.T) {
	f := newForks(t, "tenforks")
	f.alteredTemplate(t, tenMinutesOld)
	const count = 10
	outputs, errs := make([]string, count), make([]error, count)
	behind := make([]time.Duration, count)
	var all sync.WaitGroup
	for n := range count {
		spec, key := f.spec(t, n)
		all.Go(func() {
			w, err := f.begin(t.Context(), spec, key)
			if err == nil && w.How() != backend.Fork {
				err = fmt.Errorf("%s is a %s", w.ID(), w.How())
			}
			if err == nil {
				outputs[n], err = w.Run(secrets)
			}
			if err == nil {
				behind[n], err = clockError(w)
			}
			errs[n] = err
		})
	}
	all.Wait()
	owner := map[string]int{}
	for n := range count {
		require.NoError(t, errs[n])
		lines := strings.Split(strings.TrimSpace(outputs[n]), "\n")
		require.Len(t, lines, 32+4)
		for _, line := range lines {
			other, taken := owner[line]
			require.False(t, taken, "forks %d and %d both have %q", other, n, line)
			owner[line] = n
		}
		require.Less(t, behind[n].Abs(), time.Second, "the clock of fork %d", n)
	}
}

// clockError asks for the guest's time, and compares it with the moment of the
// answer that lies nearest: how long the question took is no error of the
// clock.
func clockError(w backendtest.Worker) (time.Duration, error) {
	before := time.Now()
	out, err := w.Run("date +%s%N")
	after := time.Now()
	if err != nil {
		return 0, err
	}
	nanoseconds, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return 0, err
	}
	switch there := time.Unix(0, nanoseconds); {
	case there.Before(before):
		return before.Sub(there), nil
	case there.After(after):
		return there.Sub(after), nil
	}
	return 0, nil
}

func TestForksWithMemoryOfTheirOwn(t *testing.T) {
	f := newForks(t, "unshared")
	f.options.ShareMemory = false
	f.Backend = f.again()
	w, err := f.start(t, 0)
	require.NoError(t, err)
	require.Equal(t, backend.Fork, w.How())
	m := f.driver.of(w.ID())
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", m.process.PID))
	require.NoError(t, err)
	require.Contains(t, string(maps), filepath.Join(m.dir, "memory"))
	require.NotContains(t, string(maps), f.options.TemplatesDir)
}

// TestBrokenTemplatesMeanClones has templates that restore into nonsense, and
// one that is found but not used because something else is valid now.
func TestBrokenTemplatesMeanClones(t *testing.T) {
	f := newForks(t, "broken2")
	good := f.ownTemplate(t)
	otherSize := backend.Size{CPUs: 2, Memory: f.size.Memory}
	require.False(t, f.Stockable(t.Context(), f.golden, otherSize), "a template of another size must not be used")

	state, err := os.ReadFile(good.State())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(good.State(), bytes.Repeat([]byte("rubbish"), len(state)/7), 0o600))
	const failures = 2
	var workers [failures]backendtest.Worker
	var all errgroup.Group
	for n := range failures {
		spec, key := f.spec(t, n)
		all.Go(func() (err error) {
			workers[n], err = f.begin(t.Context(), spec, key)
			return err
		})
	}
	require.NoError(t, all.Wait())
	for _, w := range workers {
		require.Equal(t, backend.Clone, w.How())
	}
	require.False(t, f.Stockable(t.Context(), f.golden, f.size), "a broken template must not be used again")

	f.options.Fork = false
	f.Backend = f.again()
	require.NoError(t, f.Prepare(t.Context(), f.golden, f.size, nil, nil, func(string, string) {}))
	require.NoDirExists(t, good.Dir, "without forks nothing is kept for them")
}

// first is the first file that a rekey writes, in a directory that is made.
const first = "d=/run/mayfly/files/etc; mkdir -p $d; %s $d/machine-id"

// stuck has the agent hang there: it is a pipe that nobody reads.
var stuck = fmt.Sprintf(first, "mkfifo")

// interrupt kills an agent that hangs there, and then does something else. It
// sees by the clock that the rekey has begun; what looks is there when the script
// ends.
var interrupt = tenMinutesOld + stuck + `
setsid sh -c 'agent=$(systemctl show --property MainPID --value mayfly-agent); began=$(date +%%s); touch /run/looking
while [ $(date +%%s) -lt $((began + 300)) ]; do sleep 0.1; done
systemctl stop --no-block mayfly-agent; kill -9 $agent; %s' </dev/null >/dev/null 2>&1 &
until [ -e /run/looking ]; do sleep 0.1; done`

// forksOnly boots no clone, and keeps what there is when it should.
type forksOnly struct {
	*recorder
	left []string
}

var errNoClone = errors.New("no clone is booted here")

func (d *forksOnly) Launch(place vmm.Place, spec vmm.Spec) (vmm.Monitor, error) {
	if spec.Incoming {
		return d.recorder.Launch(place, spec)
	}
	entries, err := os.ReadDir(place.Dir)
	for _, entry := range entries {
		d.left = append(d.left, entry.Name())
	}
	return nil, errors.Join(errNoClone, err)
}

// TestForksFailClosed has agents that come to grief in the middle of a rekey.
func TestForksFailClosed(t *testing.T) {
	const soon = 15 * time.Second
	patience := testrun.Patience(t)
	for name, test := range map[string]struct {
		script string
		limit  time.Duration
		want   string
	}{
		"slow":    {stuck, soon, "not done within 15s"},
		"killed":  {fmt.Sprintf(interrupt, ":"), soon, "not done within 15s"},
		"rubbish": {fmt.Sprintf(interrupt, "sleep 0.5; while :; do echo rubbish; sleep 0.1; done >$(ls /dev/vport*)"), patience, "not a message"},
		"unable":  {fmt.Sprintf(first, "mkdir"), patience, "setting the machine id"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForks(t, "closed-"+name)
			f.alteredTemplate(t, test.script)
			f.options.ForkLimit = test.limit
			var said bytes.Buffer
			f.options.Log = slog.New(slog.NewTextHandler(&said, nil))
			driver := &forksOnly{recorder: f.driver}
			f.Backend = vmm.New(driver, f.options)

			spec, _ := f.spec(t, 0)
			_, err := f.Start(t.Context(), f.golden, spec)
			require.ErrorIs(t, err, errNoClone)
			require.Contains(t, said.String(), test.want)
			require.Equal(t, []string{"disk"}, driver.left, "nothing but what a clone begins with")
			machines, err := f.Find(t.Context())
			require.NoError(t, err)
			require.Empty(t, machines)
		})
	}
}

// TestForksAreOffTheNetworkUntilTheyHaveAnIdentity knocks at a port that nobody
// has opened yet: the guest of a template has its network, and would refuse.
func TestForksAreOffTheNetworkUntilTheyHaveAnIdentity(t *testing.T) {
	f := newForks(t, "cable")
	spec, _ := f.spec(t, 0)
	require.NoError(t, f.Stock(t.Context(), f.golden, spec))
	m := f.driver.of(spec.ID)
	ctx, cancel := whileRunning(t.Context(), m)
	defer cancel()
	knock := func(limit time.Duration) error {
		conn, err := net.DialTimeout("tcp", spec.Lease.SSH().String(), limit)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	require.NoError(t, running(ctx, m, func(agent *guest.Client) error {
		if err := agent.Run(ctx, "ip -4 route get 192.0.2.1 2>&1 | grep 'via 198.18.0.1'", io.Discard); err != nil {
			return fmt.Errorf("its network is not set up: %w", err)
		}
		var silence net.Error
		require.ErrorAs(t, knock(3*time.Second), &silence)
		require.True(t, silence.Timeout(), silence)
		if err := f.network.Connect(ctx, spec.ID); err != nil {
			return err
		}
		require.ErrorIs(t, knock(testrun.Patience(t)), unix.ECONNREFUSED)
		return nil
	}))
}

func TestCancelledPrepareLeavesNothing(t *testing.T) {
	f := newForks(t, "cancelled")
	f.ownTemplate(t)
	require.NoError(t, f.shelf().Clear())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- f.Prepare(ctx, f.golden, f.size, nil, nil, func(string, string) {}) }()
	require.Eventually(t, func() bool {
		machines, err := f.Find(t.Context())
		return err == nil && len(machines) == 1
	}, testrun.Patience(t), 50*time.Millisecond, "its machine boots")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	entries, err := os.ReadDir(f.options.TemplatesDir)
	require.NoError(t, err)
	for _, entry := range entries {
		require.False(t, entry.IsDir(), entry.Name())
	}
	machines, err := f.Find(t.Context())
	require.NoError(t, err)
	require.Empty(t, machines)
	leases, err := f.network.Find(t.Context())
	require.NoError(t, err)
	require.Empty(t, leases)
}

func TestForksHaveWhatUsersExpect(t *testing.T) {
	w, err := newForks(t, "expected").start(t, 0)
	require.NoError(t, err)
	require.Equal(t, backend.Fork, w.How())
	backendtest.Expected(t, w)
}
