package pool_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// loggedPool is an open pool that logs what a runner's log shows by default.
func loggedPool(t *testing.T, w *world) (*pool.Pool, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s, err := store.Open(t.TempDir())
	require.NoError(t, err)
	parts := w.parts(s)
	parts.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	p := pool.New(config, parts)
	require.NoError(t, p.Open(t.Context()))
	return p, &log
}

func TestFailedBuildIsLoggedWholeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		failed := errors.New("no mirror; last lines:\n  tail of the console")
		w.on("build", func(context.Context, string) error { time.Sleep(time.Second); return failed })
		p, log := loggedPool(t, w)
		grow(t, p, 3)
		time.Sleep(1500 * time.Millisecond)
		require.NoError(t, p.Close(t.Context()))
		assert.Equal(t, 1, strings.Count(log.String(), "tail of the console"), log.String())
		assert.Equal(t, 3, strings.Count(log.String(), "no mirror; last lines: …"), log.String())
	})
}

func TestStagesOfABuildAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, log := loggedPool(t, newWorld())
		synctest.Wait()
		require.NoError(t, p.Close(t.Context()))
		assert.Equal(t, 1, strings.Count(log.String(), "stage=first"))
		assert.Equal(t, 1, strings.Count(log.String(), "stage=second"))
		assert.NotContains(t, log.String(), "a line of")
	})
}

func TestPhasesAreLoggedAsRoundedFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("ready", func(context.Context, string) error { time.Sleep(6204999 * time.Microsecond); return nil })
		p, log := loggedPool(t, w)
		grow(t, p, 1)
		time.Sleep(time.Minute)
		require.NoError(t, p.Close(t.Context()))
		assert.Contains(t, log.String(), "how=fork wait_disk=0s wait_image=0s wait_template=0s wait_budget=0s wait_start=0s "+
			"lease=0s start=0s ready=6.2s\n")
	})
}

func TestGoldenImageThatWasRemovedIsBuiltAgain(t *testing.T) {
	images := filepath.Join(t.TempDir(), "golden")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.images = images
		builds := newTimes()
		w.on("build", func(context.Context, string) error { builds.note(); return os.Mkdir(images, 0o700) })
		w.on("start", func(context.Context, string) error { _, err := os.Stat(images); return err })
		p, _ := openPool(t, w, config)
		synctest.Wait()
		require.NoError(t, os.Remove(images))
		grow(t, p, 4) // all at once, and one build for all of them
		time.Sleep(time.Minute)
		assert.Len(t, builds.gaps(), 1)
		grow(t, p, 1)
		synctest.Wait()
		workers := p.Workers()
		assert.Equal(t, pool.Running, workers[len(workers)-1].State)
	})
}
