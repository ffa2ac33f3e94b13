package pool_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// visitors are who is connected to workers, and which job each guest says it has.
type visitors struct {
	mu    sync.Mutex
	there bool
	job   guest.Job
	asked int
}

func (v *visitors) set(there bool, job guest.Job) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.there, v.job = there, job
}

func (v *visitors) questions() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.asked
}

type witnessBackend struct {
	worldBackend
	*visitors
}

func (b witnessBackend) Job(context.Context, string) (guest.Job, bool, error) {
	b.visitors.mu.Lock()
	defer b.visitors.mu.Unlock()
	b.asked++
	return b.job, b.job.ID > 0, nil
}

type doorAccess struct {
	worldAccess
	*visitors
}

func (a doorAccess) Connected() (func(netip.AddrPort) bool, error) {
	a.visitors.mu.Lock()
	defer a.visitors.mu.Unlock()
	there := a.there
	return func(netip.AddrPort) bool { return there }, nil
}

func TestJobsAreSeenOfThoseWhoAreConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, v := newWorld(), new(visitors)
		kept := tellingPool(t, w, config, func(parts *pool.Parts) {
			parts.Backend, parts.Access = witnessBackend{worldBackend{w}, v}, doorAccess{worldAccess{w}, v}
		})
		grow(t, kept.Pool, 1)
		time.Sleep(time.Hour)
		require.Zero(t, v.questions(), "an idle guest is not asked")

		first, second := guest.Job{ID: 7, Project: "a/b", Name: "build"}, guest.Job{ID: 8}
		v.set(true, first)
		time.Sleep(3 * time.Second)
		require.Len(t, kept.workers(t)[0].Jobs, 1, "it is seen soon")
		time.Sleep(time.Hour)
		require.Less(t, v.questions(), 200, "a long job is asked seldom")
		v.set(true, second)
		time.Sleep(time.Minute)
		v.set(false, second)
		time.Sleep(time.Minute)

		jobs := kept.workers(t)[0].Jobs
		require.Len(t, jobs, 2)
		require.Equal(t, ledger.Job{ID: 7, Project: "a/b", Name: "build"}, jobs[0].Job)
		require.Equal(t, ledger.Job{ID: 8}, jobs[1].Job)
	})
}
