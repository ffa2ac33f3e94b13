package pool_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// forkingBackend can make templates, and counts how often it was asked.
type forkingBackend struct {
	worldBackend
	asked chan backend.Size
	fails func(asked int) error
}

func (b forkingBackend) Prepare(_ context.Context, _ image.Golden, size backend.Size, progress image.Progress) error {
	progress("template", "")
	b.asked <- size
	return b.fails(len(b.asked))
}

func openForking(t *testing.T, fails func(asked int) error) (*pool.Pool, forkingBackend) {
	t.Helper()
	w := newWorld()
	s, err := store.Open(t.TempDir())
	require.NoError(t, err)
	parts := w.parts(s)
	forking := forkingBackend{worldBackend{w}, make(chan backend.Size, 10), fails}
	parts.Backend = forking
	p := pool.New(config, parts)
	require.NoError(t, p.Open(t.Context()))
	return p, forking
}

func TestTemplateIsMadeOfTheWorkersSizeAndLookedAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, forking := openForking(t, func(asked int) error {
			if asked == 1 {
				return errors.New("no room")
			}
			return nil
		})
		synctest.Wait()
		require.Len(t, forking.asked, 1)
		require.Equal(t, backend.Size{CPUs: config.CPUs, Memory: config.Memory}, <-forking.asked)

		grow(t, p, 1) // without a template workers start all the same
		synctest.Wait()
		require.Equal(t, pool.Running, p.Workers()[0].State)

		time.Sleep(6 * time.Minute)
		require.Len(t, forking.asked, 1, "one that failed is made again")
		require.NoError(t, p.Close(t.Context()))
	})
}
