//go:build linux

package vmm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// played is a driver whose machines are shells that wait for their end. It
// refuses calls that do not fit together, and writes down the others.
type played struct {
	mu    sync.Mutex
	calls []string
	// fails is a call that fails, with failure where there is one.
	fails   string
	failure error
	// wholeDisks is that trait, and forksOnce is that it cannot fork what was saved.
	wholeDisks, forksOnce bool
	// launched is what was launched last.
	launched Spec
	// noCutter has a network that cannot cut machines off.
	noCutter bool
}

func (d *played) Traits() Traits {
	return Traits{
		Name: "Shell", Binary: "true", Emulates: true, WholeDisks: d.wholeDisks, ForksSaved: !d.forksOnce,
		ProbeArguments: func(string, string) []string { return nil }, ProbeEnds: true, AnswerFile: "answer.json",
		Tag:     process.Tag{Option: "tag"},
		Sockets: []string{"socket"}, Logs: []string{"shell.log"},
	}
}

func (d *played) Check(context.Context, Options) []doctor.Finding {
	return []doctor.Finding{{Level: doctor.OK, What: "sh"}}
}

// note writes a call down, and fails if it is to fail. On a slow host a guest is
// told the time again after its identity, or after the time: that counts once.
func (d *played) note(call string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if call == guest.OpWake && len(d.calls) > 0 {
		if last := d.calls[len(d.calls)-1]; last == guest.OpRekey || last == guest.OpWake {
			return nil
		}
	}
	d.calls = append(d.calls, call)
	if call == d.fails {
		return cmp.Or(d.failure, errors.New(call+" fails"))
	}
	return nil
}

// fail has a call fail from now on.
func (d *played) fail(call string, failure error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails, d.failure = call, failure
}

// noted returns the calls since it was asked last.
func (d *played) noted() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := d.calls
	d.calls = nil
	return strings.Join(calls, ", ")
}

func (d *played) Launch(place Place, spec Spec) (Monitor, error) {
	socket, err := os.OpenFile(filepath.Join(place.Dir, "socket"), os.O_CREATE|os.O_EXCL, 0o600) // none may be left
	if err != nil {
		return nil, err
	}
	_ = socket.Close()
	if err := os.WriteFile(spec.Console, []byte("what the console said\n"), 0o600); err != nil {
		return nil, err
	}
	life, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer life.Close()
	child, err := place.Start(process.Command{
		Path: "/bin/sh", Arguments: []string{"-c", "read end <&3; exit 0", "tag", place.Tag},
		Files: []*os.File{life}, Output: filepath.Join(place.Dir, "shell.log"),
	}, spec, spec.Files(place.Dir, true))
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.launched = spec
	d.mu.Unlock()
	return &playedMachine{driver: d, spec: spec, child: child, end: end, diskErrors: make(chan error, 1)}, d.note("launch")
}

// playedMachine is a shell that ends when its pipe does.
type playedMachine struct {
	driver  *played
	spec    Spec
	child   *process.Process
	end     *os.File
	started bool
	// off says that the guest has powered itself off.
	off atomic.Bool

	diskErrors chan error
}

func (m *playedMachine) Process() *process.Process { return m.child }

func (m *playedMachine) Boot(context.Context) error {
	if m.spec.Incoming {
		return errors.New("it waits for a state")
	}
	m.started = true
	return m.driver.note("boot")
}

func (m *playedMachine) Restore(_ context.Context, state string) error {
	if _, err := os.Stat(state); err != nil || !m.spec.Incoming {
		return fmt.Errorf("nothing can be restored here: %w", err)
	}
	if state == m.spec.State {
		if err := os.Remove(state); err != nil {
			return err
		}
	}
	return m.driver.note("restore")
}

func (m *playedMachine) Continue(context.Context) error {
	m.started = true
	return m.driver.note("continue")
}

func (m *playedMachine) Agent(context.Context) (net.Conn, error) {
	if !m.started {
		return nil, errors.New("nobody answers in a machine that does not run")
	}
	host, inside := net.Pipe()
	go playAgent(inside, m)
	return host, nil
}

// powerOff ends the machine as its guest does.
func (m *playedMachine) powerOff() {
	m.off.Store(true)
	_ = m.end.Close()
}

func (m *playedMachine) DiskErrors() <-chan error { return m.diskErrors }

func (m *playedMachine) Save(context.Context) error {
	if err := m.driver.note("save"); err != nil {
		return err
	}
	if err := os.WriteFile(m.spec.State, nil, 0o600); err != nil {
		return err
	}
	_ = m.end.Close()
	<-m.child.Done()
	return nil
}

func (m *playedMachine) End() (words string, poweredOff bool) { return "", m.off.Load() }
func (m *playedMachine) Heard() <-chan struct{}               { return m.child.Done() }

var (
	_ Driver = (*played)(nil)

	_ DiskReporter = (*playedMachine)(nil)
)

// playedNetwork has nothing but what machines are cut off with.
type playedNetwork struct {
	network.None
	driver *played
}

// network is where machines are.
func (b *bench) network() network.Network {
	if b.driver.noCutter {
		return network.None{}
	}
	return playedNetwork{driver: b.driver}
}

func (n playedNetwork) CutOff(context.Context, string) error  { return n.driver.note("cut off") }
func (n playedNetwork) Connect(context.Context, string) error { return n.driver.note("connect") }

// playAgent answers as the agent of a guest does in which the step fails that
// says so.
func playAgent(conn net.Conn, m *playedMachine) {
	for requests := guest.NewReader(conn); ; {
		var request guest.Request
		if err := requests.Read(&request); errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
			return
		}
		answer := guest.Event{Version: guest.Version, ID: request.ID, Done: true}
		switch {
		case strings.Contains(request.Command, "cloud-init/result.json"):
			answer.Output = []byte(`{"v1":{"errors":[]}}`)
		case strings.Contains(request.Command, "exit 7"):
			answer.Output, answer.Exit = []byte("the reason\n"), 7
		case strings.Contains(request.Command, "/proc/uptime"):
			answer.Output = fmt.Appendf(nil, "%.2f 0\n", time.Since(hostBegan).Seconds())
		case request.Op != guest.OpRun:
			if err := m.driver.note(request.Op); err != nil {
				answer.Error = err.Error()
			}
		}
		if guest.Write(conn, answer) != nil {
			return
		}
		if request.Op == guest.OpPowerOff && answer.Error == "" {
			m.powerOff()
		}
	}
}

// hostBegan is when the guests of all tests booted.
var hostBegan = time.Now()

// bench is a backend with a golden image.
type bench struct {
	*Backend
	driver *played
	golden image.Golden
	size   backend.Size
	dir    string
	warm   []image.Commands
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return newBenchIn(t, t.TempDir())
}

func newBenchIn(t *testing.T, dir string) *bench {
	t.Helper()
	need.Programs(t, "qemu-img")
	need.Root(t)
	b := &bench{driver: &played{}, size: backend.Size{CPUs: 1, Memory: 1 << 20}, dir: dir}
	b.golden = image.Golden{Dir: filepath.Join(dir, "golden"), Manifest: image.Manifest{Digest: "d"}}
	require.NoError(t, os.Mkdir(b.golden.Dir, 0o700))
	for _, path := range []string{b.golden.Disk(), b.golden.Kernel(), b.golden.Initrd()} {
		require.NoError(t, os.WriteFile(path, make([]byte, 1<<16), 0o600))
	}
	b.Backend = b.again()
	return b
}

// again is the backend without memory, as after a restart of the plugin.
func (b *bench) again() *Backend {
	return New(b.driver, Options{
		Pool: "p", WorkersDir: filepath.Join(b.dir, "workers"),
		ImagesDir: filepath.Join(b.dir, "images"), StateDir: b.dir,
		Fork: true, ShareMemory: true, TemplatesDir: filepath.Join(b.dir, "templates"), Warm: b.warm,
		Network: b.network(), Log: slog.New(slog.DiscardHandler),
	})
}

// prepare makes the template, and forgets what was asked of the driver for it.
func (b *bench) prepare(t *testing.T) {
	t.Helper()
	require.NoError(t, b.Prepare(t.Context(), b.golden, b.size, nil, nil, func(string, string) {}))
	require.Equal(t, "launch, boot, cut off, await, save", b.driver.noted())
}

// spec is that of a worker with a directory, which the end of the test destroys.
func (b *bench) spec(t *testing.T, name string) backend.Spec {
	t.Helper()
	s := backend.Spec{ID: "p-" + name + "aaaa", Size: b.size}
	s.Dir = filepath.Join(b.dir, "workers", s.ID)
	require.NoError(t, os.MkdirAll(s.Dir, 0o700))
	t.Cleanup(func() { require.NoError(t, b.Destroy(context.Background(), s.ID)) })
	return s
}

// files are the names in a directory.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
