package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a host in memory: it remembers which machines and leases exist, and
// does nothing else unless a hook makes it wait or fail.
type world struct {
	mu       sync.Mutex
	hooks    map[string]hook
	machines map[string]*machine
	leases   map[string]bool
	saved    map[string]bool // machines that were put away
	parked   map[string]bool // leases that were put away
	stocked  map[string]bool // machines that wait for their identity
	template bool            // what it takes to stock
	open     bool            // the network
	images   string          // the directory of the golden image, if it is to have one
	consoles string          // what each machine says on its console
	isolated map[string]bool // leases that only answer
	asks     string          // what every job says that asks for its worker to be held
}

// hook takes part in an operation: build, open, acquire, start, ready,
// await, answers, memory, destroy, release, stock, suspend, park, unpark, resume,
// prepare, asked, isolate, fork saved or close.
type hook func(ctx context.Context, id string) error

func newWorld() *world {
	return &world{hooks: map[string]hook{}, machines: map[string]*machine{}, leases: map[string]bool{},
		saved: map[string]bool{}, parked: map[string]bool{}, stocked: map[string]bool{}, isolated: map[string]bool{}}
}

// on sets the hook of an operation; nil removes it.
func (w *world) on(operation string, h hook) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hooks[operation] = h
}

func (w *world) meet(ctx context.Context, operation, id string) error {
	w.mu.Lock()
	h := w.hooks[operation]
	w.mu.Unlock()
	if h == nil {
		return nil
	}
	return h(ctx, id)
}

// crash ends a machine by itself.
func (w *world) crash(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m := w.machines[id]; m != nil {
		m.end("crashed")
	}
}

// fault is what a machine says of itself that is about to end.
func (w *world) fault(id string) {
	m := w.machines[id]
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = guest.ErrGone
}

// setTemplate says whether there is what it takes to stock.
func (w *world) setTemplate(there bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.template = there
}

// left lists all that exists, by what it is.
func (w *world) left() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var left []string
	for id := range w.machines {
		left = append(left, "machine "+id)
	}
	for id := range w.leases {
		left = append(left, "lease "+id)
	}
	for id := range w.saved {
		left = append(left, "saved machine "+id)
	}
	for id := range w.parked {
		left = append(left, "parked lease "+id)
	}
	if w.open {
		left = append(left, "network")
	}
	return left
}

// parts are the world seen by a pool.
func (w *world) parts(s *store.Store) pool.Parts {
	return pool.Parts{
		Backend: worldBackend{w}, Network: worldNetwork{w}, Access: worldAccess{w},
		Store: s, Log: slog.New(slog.DiscardHandler),
	}
}

type worldBackend struct{ *world }

func (w worldBackend) Check(context.Context) []doctor.Finding { return nil }

func (w worldBackend) Acceleration() (name, reason string) { return "imagined", "it is all a test" }

func (w worldBackend) Build(ctx context.Context, r image.Recipe, progress image.Progress) (image.Golden, error) {
	for _, stage := range []string{"first", "second"} {
		progress(stage, "")
		progress(stage, "a line of the "+stage)
	}
	manifest := image.Manifest{Digest: r.Digest(), Recipe: r}
	return image.Golden{Dir: w.images, Manifest: manifest}, w.meet(ctx, "build", "")
}

// Start makes the machine before it meets its hook, so that a start that fails
// leaves something behind.
func (w worldBackend) Start(ctx context.Context, _ image.Golden, spec backend.Spec) (backend.Machine, error) {
	m := &machine{id: spec.ID, done: make(chan struct{})}
	w.mu.Lock()
	if w.machines[spec.ID] != nil && !w.stocked[spec.ID] || !w.leases[spec.ID] {
		panic("started twice, or without a lease")
	}
	delete(w.stocked, spec.ID)
	w.machines[spec.ID] = m
	said := w.consoles
	w.mu.Unlock()
	if said != "" {
		if err := os.WriteFile(w.ConsolePath(spec.Dir), []byte(said), 0o600); err != nil {
			return nil, err
		}
	}
	if err := w.meet(ctx, "start", spec.ID); err != nil {
		return nil, err
	}
	return m, nil
}

func (w worldBackend) ConsolePath(dir string) string { return filepath.Join(dir, "console.log") }

func (w worldBackend) Find(context.Context) ([]backend.Machine, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []backend.Machine
	for _, m := range w.machines {
		found = append(found, m)
	}
	return found, nil
}

func (w worldBackend) Destroy(ctx context.Context, id string) error {
	if err := w.meet(ctx, "destroy", id); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if m := w.machines[id]; m != nil {
		m.end("destroyed")
		delete(w.machines, id)
	}
	delete(w.saved, id)
	delete(w.stocked, id)
	return nil
}

func (w worldBackend) Stockable(context.Context, image.Golden, backend.Size) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.template
}

// Stock makes the machine before it meets its hook, as Start does.
func (w worldBackend) Stock(ctx context.Context, _ image.Golden, spec backend.Spec) error {
	w.mu.Lock()
	if w.machines[spec.ID] != nil || !w.leases[spec.ID] || spec.Identity != (guest.Identity{}) {
		panic("stocked twice, without a lease, or with an identity")
	}
	w.stocked[spec.ID] = true
	w.machines[spec.ID] = &machine{id: spec.ID, done: make(chan struct{})}
	w.mu.Unlock()
	return w.meet(ctx, "stock", spec.ID)
}

// inStock lists the machines that wait for their identity.
func (w *world) inStock() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.stocked))
}

func (w worldBackend) Suspend(ctx context.Context, id string) error {
	if err := w.meet(ctx, "suspend", id); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.machines[id].end("suspended")
	delete(w.machines, id)
	w.saved[id] = true
	return nil
}

func (w worldBackend) Resume(ctx context.Context, spec backend.Spec) (backend.Machine, error) {
	w.mu.Lock()
	m := &machine{id: spec.ID, done: make(chan struct{})}
	if !w.saved[spec.ID] || !w.leases[spec.ID] {
		panic("resumed what was not saved, or without a lease")
	}
	delete(w.saved, spec.ID)
	w.machines[spec.ID] = m
	w.mu.Unlock()
	return m, w.meet(ctx, "resume", spec.ID)
}

func (w worldBackend) Resumable(dir string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.saved[filepath.Base(dir)] {
		return errors.New("nothing was saved")
	}
	return nil
}

func (w worldBackend) ForkSaved(ctx context.Context, dir string, spec backend.Spec) (backend.Machine, error) {
	w.mu.Lock()
	m := &machine{id: spec.ID, done: make(chan struct{})}
	if !w.saved[filepath.Base(dir)] || !w.leases[spec.ID] || !w.isolated[spec.ID] || w.machines[spec.ID] != nil {
		panic("forked what was not saved, or into a lease from which it gets out")
	}
	w.machines[spec.ID] = m
	w.mu.Unlock()
	return m, w.meet(ctx, "fork saved", spec.ID)
}

type worldNetwork struct{ *world }

func (w worldNetwork) Isolate(ctx context.Context, id string) error {
	if err := w.meet(ctx, "isolate", id); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.leases[id] {
		panic("isolated what has no lease")
	}
	w.isolated[id] = true
	return nil
}

func (w worldNetwork) Open(ctx context.Context) error {
	if err := w.meet(ctx, "open", ""); err != nil {
		return err
	}
	w.setOpen(true)
	return nil
}

func (w worldNetwork) Acquire(ctx context.Context, id string) (network.Lease, error) {
	if err := w.meet(ctx, "acquire", id); err != nil {
		return network.Lease{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leases[id] = true
	return network.Lease{Worker: id}, nil
}

func (w worldNetwork) Release(ctx context.Context, id string) error {
	if err := w.meet(ctx, "release", id); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.leases, id)
	delete(w.parked, id)
	return nil
}

func (w worldNetwork) Park(ctx context.Context, id string) error {
	if err := w.meet(ctx, "park", id); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.leases, id)
	w.parked[id] = true
	return nil
}

func (w worldNetwork) Unpark(ctx context.Context, id string, _ int) (network.Lease, error) {
	if err := w.meet(ctx, "unpark", id); err != nil {
		return network.Lease{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.parked, id)
	w.leases[id] = true
	return network.Lease{Worker: id}, nil
}

func (w worldNetwork) Find(context.Context) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.AppendSeq(slices.Collect(maps.Keys(w.leases)), maps.Keys(w.parked)), nil
}

func (w worldNetwork) Await(ctx context.Context, id string) error { return w.meet(ctx, "await", id) }

func (w worldNetwork) Unguarded(context.Context) (map[string]string, error) { return nil, nil }

func (w worldNetwork) Close(ctx context.Context) error {
	if err := w.meet(ctx, "close", ""); err != nil {
		return err
	}
	w.setOpen(false)
	return nil
}

func (w worldNetwork) setOpen(open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = open
}

type worldAccess struct{ *world }

func (w worldAccess) New(id, user string) (guest.Identity, pool.Key, error) {
	identity := guest.Identity{Hostname: id, User: user, HostKeyPublic: "host key of " + id}
	return identity, pool.Key("key of " + id), nil
}

func (w worldAccess) Ready(ctx context.Context, _ netip.AddrPort, identity guest.Identity, _ pool.Key) error {
	return w.meet(ctx, "ready", identity.Hostname)
}

func (w worldAccess) HoldAsked(ctx context.Context, _ netip.AddrPort, identity guest.Identity, _ pool.Key) (
	words string, asked bool, err error,
) {
	err = w.meet(ctx, "asked", identity.Hostname)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asks, w.asks != "", err
}

func (w worldAccess) Answers(ctx context.Context, _ netip.AddrPort) error {
	return w.meet(ctx, "answers", "")
}

// machine runs until someone ends it.
type machine struct {
	id   string
	done chan struct{}

	mu  sync.Mutex
	err error
}

func (m *machine) ID() string              { return m.id }
func (m *machine) Address() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.7:22") }
func (m *machine) How() string             { return backend.Fork }
func (m *machine) Done() <-chan struct{}   { return m.done }

func (m *machine) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *machine) end(reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = fmt.Errorf("%w: %s", guest.ErrGone, reason)
		close(m.done)
	}
}

var config = pool.Config{
	Name:             "test",
	Recipe:           image.Recipe{User: "runner"},
	CPUs:             2,
	Memory:           1 << 30,
	Max:              100,
	ConcurrentStarts: 4,
	StartTimeout:     time.Minute,
	WatchInterval:    time.Minute,
}

// newPool makes a pool in a world, not open yet, and its store.
func newPool(t *testing.T, w *world, config pool.Config) (*pool.Pool, *store.Store) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	require.NoError(t, err)
	return pool.New(config, w.parts(s)), s
}

// openPool makes a pool that is closed, with nothing left of it, at the end
// of the test.
func openPool(t *testing.T, w *world, config pool.Config) (*pool.Pool, *store.Store) {
	t.Helper()
	p, s := newPool(t, w, config)
	require.NoError(t, p.Open(t.Context()))
	t.Cleanup(func() { closePool(t, w, p, s) })
	return p, s
}

func closePool(t *testing.T, w *world, p *pool.Pool, s *store.Store) {
	t.Helper()
	require.NoError(t, p.Close(context.Background()))
	require.Empty(t, w.left())
	ids, err := s.List()
	require.NoError(t, err)
	require.Empty(t, ids)
}

// states is what Workers says, by id.
func states(p *pool.Pool) map[string]pool.State {
	states := map[string]pool.State{}
	for _, w := range p.Workers() {
		states[w.ID] = w.State
	}
	return states
}

// only returns the one worker that there is.
func only(t *testing.T, p *pool.Pool) pool.Worker {
	t.Helper()
	workers := p.Workers()
	require.Len(t, workers, 1)
	return workers[0]
}

func grow(t *testing.T, p *pool.Pool, n int) {
	t.Helper()
	promised, err := p.Grow(n)
	require.NoError(t, err)
	require.Equal(t, n, promised)
}

// hang waits until it is cancelled, as a start would that leads nowhere.
func hang(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// fail fails with err.
func fail(err error) hook {
	return func(context.Context, string) error { return err }
}
