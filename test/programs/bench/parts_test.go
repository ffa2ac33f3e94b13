//go:build linux

package main

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// countedLeases are of no network: it only counts them, and has room for a few.
type countedLeases struct {
	network.Network
	room int

	mu    sync.Mutex
	there map[string]bool
	// most is how many there were at the same time.
	most int
}

func (c *countedLeases) Acquire(_ context.Context, worker string) (network.Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.there) == c.room {
		return network.Lease{}, errors.New("no room")
	}
	c.there[worker] = true
	c.most = max(c.most, len(c.there))
	return network.Lease{Worker: worker}, nil
}

func (c *countedLeases) Release(_ context.Context, worker string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.there, worker)
	return nil
}

func TestLeaseIsMeasuredBesideOthersAndAllAreGivenBack(t *testing.T) {
	for name, test := range map[string]struct {
		others, room int
		fails        bool
	}{
		"alone":                          {0, 1, false},
		"beside many":                    {crowd, crowd + 1, false},
		"no room for the crowd":          {crowd, crowd / 2, true},
		"room for the crowd and no more": {crowd, crowd, true},
	} {
		t.Run(name, func(t *testing.T) {
			leases := &countedLeases{room: test.room, there: make(map[string]bool)}
			lease, err := new(bench).measureLease(t.Context(), leases, test.others)
			require.Empty(t, leases.there)
			require.Equal(t, test.room, leases.most)
			if test.fails {
				require.ErrorContains(t, err, "no room")
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.others, lease.Others)
			for _, series := range []report.Series{lease.SetUp, lease.TearDown, lease.Both} {
				require.Equal(t, leaseRounds, series.N)
			}
		})
	}
}
