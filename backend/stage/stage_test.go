package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// leases are those that there are, by worker; Acquire fails with refusal.
type leases struct {
	network.None
	held    map[string]bool
	refusal error
}

func (l *leases) Acquire(_ context.Context, worker string) (network.Lease, error) {
	if l.refusal != nil {
		return network.Lease{}, l.refusal
	}
	l.held[worker] = true
	return network.Lease{Worker: worker}, nil
}

func (l *leases) Release(_ context.Context, worker string) error {
	delete(l.held, worker)
	return nil
}

func TestRunLeavesNothing(t *testing.T) {
	net := &leases{held: map[string]bool{}}
	destroyed := 0
	s := Stage{Pool: "p", WorkersDir: t.TempDir(), Network: net, Destroy: func(ctx context.Context, _ string) error {
		destroyed++
		return ctx.Err()
	}}
	ctx, cancel := context.WithCancel(t.Context())
	broken := errors.New("the guest panicked")
	var first Place
	err := s.Run(ctx, "image", func(at Place) error {
		first = at
		require.Equal(t, at.ID, at.Lease.Worker)
		require.True(t, net.held[at.ID])
		require.NoError(t, os.WriteFile(filepath.Join(at.Dir, "disk"), nil, 0o600))
		cancel() // what it leaves goes all the same
		return broken
	})
	require.ErrorIs(t, err, broken)
	require.NotErrorIs(t, err, context.Canceled)
	require.NoDirExists(t, first.Dir)
	require.Empty(t, net.held)
	require.Equal(t, 2, destroyed, "before and after")

	// What a killed process has left goes first.
	require.NoError(t, os.MkdirAll(filepath.Join(first.Dir, "left"), 0o700))
	require.NoError(t, s.Run(t.Context(), "image", func(at Place) error {
		require.Equal(t, first, at)
		require.NoDirExists(t, filepath.Join(at.Dir, "left"))
		return nil
	}))

	net.refusal = errors.New("every address is taken")
	err = s.Run(t.Context(), "template", func(Place) error { panic("there is no lease") })
	require.ErrorIs(t, err, net.refusal)
	left, err := os.ReadDir(s.WorkersDir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestWhatCannotBeRemovedIsSaid(t *testing.T) {
	stuck := errors.New("it does not end")
	s := Stage{
		Pool: "p", WorkersDir: t.TempDir(), Network: network.None{},
		Destroy: func(context.Context, string) error { return stuck },
	}
	err := s.Run(t.Context(), "image", func(Place) error { panic("an earlier one is still there") })
	require.ErrorIs(t, err, stuck)

	dir := filepath.Join(s.WorkersDir, workerid.Derived("p", "image"))
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.ErrorIs(t, s.Run(t.Context(), "image", func(Place) error { panic("it is still there") }), stuck)
	require.DirExists(t, dir, "the next process finds the machine by it")
}
