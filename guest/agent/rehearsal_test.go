//go:build linux

package agent

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// TestRehearsalLeavesNothing runs it here, as the account that runs the test.
func TestRehearsalLeavesNothing(t *testing.T) {
	need.Root(t)
	var said bytes.Buffer
	r := rehearsal{
		jobs: account{uid: os.Getuid(), gid: os.Getgid()}, name: "tester",
		dir: filepath.Join(t.TempDir(), "rehearsal"), log: slog.New(slog.NewTextHandler(&said, nil)),
	}
	require.NoError(t, r.run(t.Context()))
	require.NoDirExists(t, r.dir)

	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, r.run(over), context.Canceled)
	require.NoDirExists(t, r.dir)
	r.whenQuiet(over)
	require.Empty(t, said.String(), "a job that comes soon finds nobody at work")
}

// TestIdleWorkersAreAtWorkBetweenTheFirstTwoConnections has a job's connection end
// what the agent does while the worker is idle.
func TestIdleWorkersAreAtWorkBetweenTheFirstTwoConnections(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	port := sshPort{server: []string{"cat"}, log: slog.New(slog.DiscardHandler), idle: func(ctx context.Context) {
		close(began) // a second time would panic
		<-ctx.Done()
		close(ended)
	}}
	address, err := port.open(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	first, err := net.Dial("tcp", address.String())
	require.NoError(t, err)
	requireEcho(t, first, "host\n")
	select {
	case <-began:
		require.Fail(t, "the host is still connected")
	default:
	}
	require.NoError(t, first.Close())
	<-began
	second, err := net.Dial("tcp", address.String())
	require.NoError(t, err)
	defer second.Close()
	requireEcho(t, second, "job\n")
	<-ended
	require.NoError(t, second.(*net.TCPConn).CloseWrite())
	_, err = io.ReadAll(second)
	require.NoError(t, err)
}

func TestRehearsalWaitsForALull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		r := rehearsal{dir: "/nonexistent/rehearsal", log: slog.New(slog.NewTextHandler(&said, nil))}
		before := time.Now()
		r.whenQuiet(t.Context())
		require.Equal(t, lull, time.Since(before))
		require.Contains(t, said.String(), "/nonexistent", "one that fails is told of, and harms nobody")
	})
}
