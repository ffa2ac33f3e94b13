package main

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// scripted is an instance group whose updates are written down before.
type scripted struct {
	fleetingprovider.InstanceGroup
	updates []map[string]fleetingprovider.State
	err     error
}

func (s *scripted) Update(_ context.Context, tell func(string, fleetingprovider.State)) error {
	if len(s.updates) == 0 {
		return s.err
	}
	for id, state := range s.updates[0] {
		tell(id, state)
	}
	s.updates = s.updates[1:]
	return nil
}

func (s *scripted) Decrease(_ context.Context, ids []string) ([]string, error) { return ids, nil }

// watch plays all updates and returns why the watch gave up, if it did.
func watch(t *testing.T, group *scripted, decrease ...string) error {
	ctx, abandon := context.WithCancelCause(t.Context())
	watched := newWatched(group, abandon)
	for range len(group.updates) + maxFailedUpdates {
		_ = watched.Update(ctx, func(string, fleetingprovider.State) {})
		if _, err := watched.Decrease(ctx, decrease); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

type update = map[string]fleetingprovider.State

const (
	creating = fleetingprovider.StateCreating
	running  = fleetingprovider.StateRunning
	deleting = fleetingprovider.StateDeleting
	deleted  = fleetingprovider.StateDeleted
)

func TestGivesUpAfterWorkersThatNeverRan(t *testing.T) {
	failing := []update{
		{"a": creating, "b": creating, "c": creating},
		{"a": deleting, "b": deleted, "c": creating},
		{"a": deleted, "c": deleted},
	}
	require.ErrorContains(t, watch(t, &scripted{updates: failing}), "3 workers in a row failed")
	require.NoError(t, watch(t, &scripted{updates: failing}, "b"), "one was told to go")
	require.NoError(t, watch(t, &scripted{updates: []update{
		{"a": creating, "b": creating, "c": creating, "d": creating},
		{"a": deleted, "b": deleted},
		{"d": running},
		{"c": deleted, "d": deleting},
	}}), "one ran between")
}

func TestGivesUpOnAPluginThatDoesNotAnswer(t *testing.T) {
	gone := errors.New("connection refused")
	require.ErrorIs(t, watch(t, &scripted{err: gone}), gone)
}

func TestInstances(t *testing.T) {
	c := config.Default()
	require.Equal(t, 1, instances(1, c))
	require.GreaterOrEqual(t, instances(1000, c), leastInstances)
	require.Less(t, instances(1000, c), 1000)
	c.Host.MaxWorkers = 2
	require.Equal(t, 2, instances(3, c))
}

func TestTheOutcomeIsGoodOnlyWhenAllIs(t *testing.T) {
	o := newOutcome("synthetic", image.Golden{})
	o.add([]*job{{}, nil, {}})
	require.True(t, o.good())
	require.Len(t, o.Jobs, 2)
	o.LeftOver = []string{"lease a"}
	require.False(t, o.good())
	o.LeftOver = nil
	o.Jobs[1].ExitCode = 1
	require.False(t, o.good())
}

func TestTableNamesTheReasonOfTheAcceleration(t *testing.T) {
	o := newOutcome("somewhere", image.Golden{})
	o.add([]*job{{Worker: "try-a", How: "clone", ReadySeconds: 4.2, Stdout: "one\ntwo", acceleration: "tcg"}})
	o.reason = "no KVM here"
	var out bytes.Buffer
	require.NoError(t, o.table(&out))
	require.Contains(t, out.String(), "try-a | one\ntry-a | two\n")
	require.Contains(t, out.String(), "1 of 1 jobs ran, in 0.0s, on somewhere with tcg (no KVM here)")
}
