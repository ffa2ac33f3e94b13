package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting/plugin"
	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func TestTwoMistakesGiveTwoLines(t *testing.T) {
	err := json.Unmarshal([]byte(`{"backend": "cloud", "machine": {"memory": "8"}}`), New(plugin.VersionInfo{}, nil))
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[0], `plugin_config.backend: unknown backend "cloud"`)
	require.Contains(t, lines[1], `plugin_config.machine.memory: "8" has no unit`)
}

func TestNoConfigurationIsTheDefault(t *testing.T) {
	for _, text := range []string{`null`, `{}`} {
		g := New(plugin.VersionInfo{}, nil)
		require.NoError(t, json.Unmarshal([]byte(text), g))
		require.Equal(t, New(plugin.VersionInfo{}, nil).config, g.config)
	}
}

func TestInfo(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	info := w.start()
	require.Equal(t, "mayfly/synthetic/default", info.ID)
	require.Equal(t, 5, info.MaxSize)
	require.Equal(t, "1.2.3", info.Version)
	require.Contains(t, info.BuildInfo, "os_arch=")
	require.Empty(t, info.Capabilities)
}

func TestMaxSizeIsTheSubnetsWhenNothingElseIsSaid(t *testing.T) {
	for keys, want := range map[string]int{
		`"network": {"subnet": "10.1.0.0/28"}`:                             12, // a template has one, too
		`"network": {"subnet": "10.1.0.0/29"}, "fork": {"spares": 1}`:      3,
		`"network": {"subnet": "10.1.0.0/29"}, "host": {"max_workers": 2}`: 2,
	} {
		w := newWorld(t, synthetic.Options{})
		w.configure(w.InstanceGroup, keys)
		require.Equal(t, want, w.start().MaxSize, keys)
	}
}

func TestEveryMethodNeedsInitAndKnowsShutdown(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	check := func(want error) {
		t.Helper()
		ctx := t.Context()
		require.ErrorIs(t, w.Update(ctx, nil), want)
		_, err := w.Increase(ctx, 1)
		require.ErrorIs(t, err, want)
		_, err = w.Decrease(ctx, []string{"default-aaaaaaaa"})
		require.ErrorIs(t, err, want)
		_, err = w.ConnectInfo(ctx, "default-aaaaaaaa")
		require.ErrorIs(t, err, want)
		require.ErrorIs(t, w.Heartbeat(ctx, "default-aaaaaaaa"), want)
	}
	check(errNotInitialised)
	w.start()
	_, err := w.init(w.InstanceGroup)
	require.ErrorIs(t, err, errAlreadyInitialised)
	require.NoError(t, w.Shutdown(t.Context()))
	check(errShutDown)
	_, err = w.init(w.InstanceGroup)
	require.ErrorIs(t, err, errShutDown)
	require.NoError(t, w.Shutdown(t.Context()), "twice")
}

func TestBackendThatCannotSuspendSaysSo(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	require.Empty(t, w.start().Capabilities)
	_, err := w.Suspend(t.Context(), []string{"a"})
	require.ErrorIs(t, err, fleetingprovider.ErrSuspendResumeNotSupported)
	_, err = w.Resume(t.Context(), []string{"a"})
	require.ErrorIs(t, err, fleetingprovider.ErrSuspendResumeNotSupported)
}

// sleeper says that it can suspend.
type sleeper struct {
	backend.Backend
	backend.Suspender
}

func TestBackendThatCanSuspendSaysSo(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	w.assembly.Backend = sleeper{Backend: w.backend}
	require.Equal(t, []fleetingprovider.Capability{fleetingprovider.CapabilitySuspendResume}, w.start().Capabilities)
	for _, ask := range []func(context.Context, []string) ([]string, error){w.Suspend, w.Resume} {
		_, err := ask(t.Context(), []string{"default-aaaaaaaa"})
		require.ErrorIs(t, err, pool.ErrUnknown, "the pool has the answer")
	}
}

func TestSecondPluginOnThePoolIsRefusedByName(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	w.start()
	second := w.newGroup()
	_, err := w.init(second)
	require.ErrorIs(t, err, store.ErrHeld)
	require.ErrorContains(t, err, `pool "default"`)
	require.ErrorContains(t, err, "waited for it for 200ms")

	require.NoError(t, w.Shutdown(t.Context()))
	_, err = w.init(second)
	require.NoError(t, err, "the first one has let go of it")
}

func TestInitWaitsForAPluginOnItsWayOut(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	w.start()
	second := w.newGroup()
	second.lockWait = soon
	tried := make(chan error)
	go func() {
		_, err := w.init(second)
		tried <- err
	}()
	require.NoError(t, w.Shutdown(t.Context()))
	require.NoError(t, <-tried)
}

// brokenNetwork cannot be opened, or closed, as long as it is broken.
type brokenNetwork struct {
	network.None
	open, close error
}

func (n *brokenNetwork) Open(context.Context) error  { return n.open }
func (n *brokenNetwork) Close(context.Context) error { return n.close }

// A failed Init is tried again at every poll, without a Shutdown between.
func TestFailedInitLeavesNothing(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	broken := &brokenNetwork{open: errors.New("no nftables here")}
	w.assembly.Network = broken
	for range 2 {
		_, err := w.init(w.InstanceGroup)
		require.ErrorIs(t, err, broken.open)
	}
	_, err := w.init(w.newGroup())
	require.ErrorIs(t, err, broken.open, "and not that the pool is held")
	broken.open = nil
	w.start()
}

func TestPoolThatCouldNotBeClosedStaysLocked(t *testing.T) {
	requireHeld := func(t *testing.T, w *world) {
		t.Helper()
		runtime.GC() // which closes files that nobody knows any more
		_, err := w.init(w.newGroup())
		require.ErrorIs(t, err, store.ErrHeld)
	}
	t.Run("by Shutdown", func(t *testing.T) {
		w := newWorld(t, synthetic.Options{})
		broken := &brokenNetwork{close: errors.New("rules are stuck")}
		w.assembly.Network = broken
		w.start()
		require.ErrorIs(t, w.Shutdown(t.Context()), broken.close)
		requireHeld(t, w)
	})
	t.Run("by an Init that failed", func(t *testing.T) {
		w := newWorld(t, synthetic.Options{})
		broken := &brokenNetwork{open: errors.New("no nftables here"), close: errors.New("rules are stuck")}
		w.assembly.Network = broken
		_, err := w.init(w.InstanceGroup)
		require.ErrorIs(t, err, broken.open)
		require.ErrorIs(t, err, broken.close)
		requireHeld(t, w)
	})
}

// A slow Init beside it does not eat the time that workers have to end.
func TestReapsLimitBeginsAfterAnInit(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	w.start()
	w.grow(1)
	const limit = 5 * time.Second // which the workers' end must keep to on a busy machine, too
	w.changing.Lock()
	time.AfterFunc(limit+100*time.Millisecond, w.changing.Unlock)
	require.NoError(t, w.Reap(limit))
	require.Empty(t, w.directories())
}

// slowNetwork is closed when it is let to, whoever waits for it.
type slowNetwork struct {
	network.None
	let chan struct{}
}

func (n slowNetwork) Close(ctx context.Context) error {
	select {
	case <-n.let:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A runner that dies while it waits for Shutdown takes the call's context with
// it. Its workers are removed all the same, as the plugin's last act.
func TestReapFinishesAShutdownThatNobodyWaitsFor(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	slow := slowNetwork{let: make(chan struct{})}
	w.assembly.Network = slow
	w.start()
	w.grow(2)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, w.Shutdown(gone), context.Canceled)
	close(slow.let)
	require.NoError(t, w.Reap(soon))
	require.Empty(t, w.directories())
	_, err := w.init(w.newGroup())
	require.NoError(t, err, "the pool is let go of")
}

func TestInitDestroysOrphansAndReportsNone(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	orphan := filepath.Join(w.stateDir, "pools", "default", "workers", "default-aaaaaaaa")
	require.NoError(t, os.MkdirAll(orphan, 0o700))
	w.start()
	require.Empty(t, w.update())
	require.NoDirExists(t, orphan)
}

// predecessor is a backend that left a machine, and lacks for a while what it
// takes to remove it.
type predecessor struct {
	*synthetic.Backend
	mu        sync.Mutex
	left      []backend.Machine
	lacking   bool
	destroyed []string
}

func (p *predecessor) Find(context.Context) ([]backend.Machine, error) { return p.left, nil }

func (p *predecessor) Destroy(_ context.Context, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lacking {
		return errors.New("its tool is not found")
	}
	p.destroyed = append(p.destroyed, id)
	return nil
}

// left is a machine that exists.
type left struct{ backend.Machine }

func (left) ID() string { return "default-oooooooo" }

// leasing is a network with some leases.
type leasing struct {
	network.None
	leases []string
}

func (n *leasing) Release(context.Context, string) error {
	n.leases = nil
	return nil
}

// A pool that was another backend's comes up although that one cannot remove
// what it left, and does not forget it.
func TestInitDoesNotFailWithWhatAnotherBackendLeft(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	dir := filepath.Join(w.stateDir, "pools", "default", "workers", "default-oooooooo")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	leases := &leasing{leases: []string{"default-oooooooo"}}
	other := &predecessor{left: []backend.Machine{left{}}, lacking: true}
	build := func(config.Config, *slog.Logger) (host.Assembly, error) {
		return host.Assembly{Backend: other, Network: leases}, nil
	}
	w.host.Backends = append(w.host.Backends, host.Builder{Name: "other", Build: build})
	var log bytes.Buffer
	_, err := w.Init(t.Context(), hclog.New(&hclog.LoggerOptions{Output: &log}), fleetingprovider.Settings{})
	require.NoError(t, err)
	w.grow(1)
	require.DirExists(t, dir)

	other.mu.Lock()
	other.lacking = false
	other.mu.Unlock()
	require.Eventually(t, func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	}, time.Minute, 20*time.Millisecond, "it is tried again")
	require.NoError(t, w.Shutdown(t.Context()))
	require.Equal(t, []string{"default-oooooooo"}, other.destroyed)
	require.Empty(t, leases.leases)
	require.Contains(t, log.String(),
		"which served the pool before (`doctor --backend other` says what it lacks): its tool is not found")
}

// failing is a backend that cannot build.
type failing struct {
	*synthetic.Backend
	err error
}

func (f failing) Build(context.Context, image.Recipe, image.Progress) (image.Golden, error) {
	return image.Golden{}, f.err
}

func TestFailedBuildWaitsInCreatingAndFailsItsWorkers(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	err := errors.New("no mirror")
	w.assembly.Backend = failing{w.backend, err}
	w.start()
	_, increase := w.Increase(t.Context(), 1)
	require.NoError(t, increase)
	require.Len(t, w.update(), 1)
	require.NoError(t, w.Shutdown(t.Context()))
}

func TestUserThatNoGuestWouldTakeIsRefused(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	_, err := w.Init(t.Context(), nullLogger, loggingInAs("a b"))
	require.ErrorContains(t, err, "connector_config.username")
}

func TestShutdownReapsWorkersThatWereJustAskedFor(t *testing.T) {
	w := newWorld(t, synthetic.Options{StartDelay: soon})
	w.start()
	granted, err := w.Increase(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, 3, granted)
	require.NoError(t, w.Shutdown(t.Context()))
	require.Empty(t, w.directories())
}

func TestShutdownReapsRunningWorkers(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	w.start()
	w.grow(2)
	require.NoError(t, w.Shutdown(t.Context()))
	require.Empty(t, w.directories())
	machines, err := w.backend.Find(t.Context())
	require.NoError(t, err)
	require.Empty(t, machines)
}
