package provider

import (
	"errors"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting/connector"
	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

func TestEveryStateOfThePoolHasAWord(t *testing.T) {
	for _, state := range []pool.State{
		pool.Creating, pool.Running, pool.Suspending, pool.Suspended, pool.Resuming, pool.Deleting, pool.Deleted,
	} {
		require.Equal(t, string(state), string(states[state]))
	}
}

func TestPromisedWorkersShowBeforeTheyGo(t *testing.T) {
	var failed atomic.Int32
	w := newWorld(t, synthetic.Options{FailStart: func(string) error { failed.Add(1); return errors.New("no luck") }})
	w.start()
	granted, err := w.Increase(t.Context(), 3)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		directories, err := filepath.Glob(filepath.Join(w.stateDir, "pools", "*", "workers", "*"))
		return err == nil && len(directories) == 0 && int(failed.Load()) == granted
	}, soon, 5*time.Millisecond, "they fail, and are removed, unseen")
	first := w.update()
	require.Len(t, first, granted)
	require.Zero(t, count(first, fleetingprovider.StateDeleted), "an id first seen as deleted wedges the runner")
	deleted := make(map[string]bool)
	w.await("all to be deleted", func(seen map[string]fleetingprovider.State) bool {
		for id, state := range seen {
			deleted[id] = deleted[id] || state == fleetingprovider.StateDeleted
		}
		return len(seen) == 0
	})
	for id := range first {
		require.True(t, deleted[id], id)
	}
}

func TestIncreaseGivesWhatThereIsRoomForWithoutAnError(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	w.start()
	granted, err := w.Increase(t.Context(), 7)
	require.NoError(t, err)
	require.Equal(t, 5, granted)
	granted, err = w.Increase(t.Context(), 1)
	require.ErrorIs(t, err, pool.ErrFull)
	require.Zero(t, granted)
}

func TestDecreaseSucceedsForWorkersThatAreGone(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	w.start()
	ids := append(w.grow(1), "default-aaaaaaaa")
	succeeded, err := w.Decrease(t.Context(), ids)
	require.NoError(t, err)
	require.ElementsMatch(t, ids, succeeded)
}

func TestDeletedWorkersLeaveUpdateSoonAndForEver(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	w.start()
	ids := w.grow(5)
	_, err := w.Decrease(t.Context(), ids)
	require.NoError(t, err)
	w.await("an empty pool", func(seen map[string]fleetingprovider.State) bool { return len(seen) == 0 })
	for _, id := range w.grow(5) {
		require.NotContains(t, ids, id)
	}
}

// The runner calls these one after the other, so none may wait on a machine.
func TestNoMethodWaitsOnAMachine(t *testing.T) {
	w := newWorld(t, synthetic.Options{StartDelay: soon})
	w.start()
	began := time.Now()
	_, err := w.Increase(t.Context(), 5)
	require.NoError(t, err)
	_, err = w.Decrease(t.Context(), []string{firstOf(w.update())})
	require.NoError(t, err)
	w.update()
	require.Less(t, time.Since(began), soon, "what a machine takes to start")
}

func firstOf(seen map[string]fleetingprovider.State) string {
	for id := range seen {
		return id
	}
	return ""
}

func TestConnectInfoLetsJobsIn(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	w.start()
	id := w.grow(1)[0]
	info, err := w.ConnectInfo(t.Context(), id)
	require.NoError(t, err)
	again, err := w.ConnectInfo(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, info, again, "the runner asks more than once")
	require.NoError(t, connector.Run(t.Context(), info, connector.ConnectorOptions{
		RunOptions: connector.RunOptions{Command: "true"},
	}))
	_, err = w.ConnectInfo(t.Context(), "default-aaaaaaaa")
	require.ErrorIs(t, err, pool.ErrUnknown)
}

func TestConnectInfoStartsFromTheRunnersSettings(t *testing.T) {
	connection := pool.Connection{
		Address: netip.MustParseAddrPort("10.210.0.2:22"), User: "mayfly", PrivateKey: "PEM", OS: "linux",
	}
	want := fleetingprovider.ConnectInfo{
		ConnectorConfig: fleetingprovider.ConnectorConfig{
			OS: "linux", Arch: runtime.GOARCH,
			Protocol: fleetingprovider.ProtocolSSH, ProtocolPort: 22,
			Username: "mayfly", Key: []byte("PEM"),
			Keepalive: 30 * time.Second, Timeout: 10 * time.Minute,
		},
		ID: "a", InternalAddr: "10.210.0.2:22", ExternalAddr: "10.210.0.2:22",
	}
	require.Equal(t, want, connectInfo("a", fleetingprovider.ConnectorConfig{}, connection),
		"nothing is zero that must not be")

	want.Keepalive, want.Timeout = time.Second, time.Minute
	require.Equal(t, want, connectInfo("a", fleetingprovider.ConnectorConfig{
		Keepalive: time.Second, Timeout: time.Minute,
		Protocol: fleetingprovider.ProtocolWinRM, ProtocolPort: 5985, OS: "windows",
		Username: "mayfly", Password: "secret", Key: []byte("theirs"), UseStaticCredentials: true,
	}, connection), "the worker's own credentials win")
}

func TestHeartbeatFailsForWhatDoesNotRun(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	w.start()
	id := w.grow(1)[0]
	require.NoError(t, w.Heartbeat(t.Context(), id))
	w.backend.Crash(id)
	require.ErrorIs(t, w.Heartbeat(t.Context(), id), fleetingprovider.ErrInstanceUnhealthy)
	require.ErrorIs(t, w.Heartbeat(t.Context(), "default-aaaaaaaa"), fleetingprovider.ErrInstanceUnhealthy)
}

// loggingInAs are the runner's settings with a user for jobs.
func loggingInAs(user string) fleetingprovider.Settings {
	return fleetingprovider.Settings{ConnectorConfig: fleetingprovider.ConnectorConfig{Username: user}}
}

func TestJobsLogInAsTheRunnersUser(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	_, err := w.Init(t.Context(), nullLogger, loggingInAs("root"))
	require.NoError(t, err)
	info, err := w.ConnectInfo(t.Context(), w.grow(1)[0])
	require.NoError(t, err)
	require.Equal(t, "root", info.Username)
}
