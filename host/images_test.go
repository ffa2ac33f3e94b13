package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func TestEditionsOfARecipeAreFoundTheNewestFirst(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	images := cache.New(c.ImagesDir())
	for _, recipe := range []image.Recipe{
		{User: "a"}, {User: "a", Edition: "2026-11-29"}, {User: "a", Edition: "2026-11-30"},
		{User: "b", Edition: "2026-12-01"},
	} {
		_, err := images.Build(t.Context(), recipe, func(_ context.Context, dir string) (string, error) {
			return "", os.WriteFile(filepath.Join(dir, image.DiskFile), nil, 0o600)
		})
		require.NoError(t, err)
	}
	found, err := hostImages{w.Host, c}.Editions(image.Recipe{User: "a", Edition: "2026-12-24"})
	require.NoError(t, err)
	require.Len(t, found, 3)
	require.Equal(t, []string{"2026-11-30", "2026-11-29", ""},
		[]string{found[0].Recipe.Edition, found[1].Recipe.Edition, found[2].Recipe.Edition})

	require.NoError(t, os.Remove(found[0].Disk()))
	found, err = hostImages{w.Host, c}.Editions(image.Recipe{User: "a"})
	require.ErrorAs(t, err, new(image.Damaged))
	require.Len(t, found, 2, "one that is damaged does not hide the others")
}

func TestImagesThatNobodyUsesAreRemoved(t *testing.T) {
	w := newWorld(t)
	every := func(image.Golden, time.Time) bool { return true }
	removed, err := hostImages{w.Host, w.config()}.Remove(every)
	require.NoError(t, err)
	require.Empty(t, removed, "where none may be")

	stuck := errors.New("it is busy")
	w.UnusedImages = func(
		_ config.Config, which func(image.Golden, time.Time) bool,
	) (unused []diskspace.Leftover, err error) {
		require.True(t, which(image.Golden{}, time.Now()))
		for name, outcome := range map[string]error{"gone": nil, "stuck": stuck} {
			remove := func() (bool, error) { return outcome == nil, outcome }
			unused = append(unused, diskspace.Leftover{What: name, Remove: remove})
		}
		return unused, nil
	}
	removed, err = hostImages{w.Host, w.config()}.Remove(every)
	require.ErrorIs(t, err, stuck)
	require.Equal(t, []string{"gone"}, removed)
}

func TestDoctorTellsOfAnImageThatCouldNotBeRenewed(t *testing.T) {
	w := newWorld(t)
	require.Empty(t, checkRenewal(w.config()))
	records, err := store.Open(w.config().PoolDir())
	require.NoError(t, err)
	require.NoError(t, records.SaveServed(store.Served{ImageDigest: "d"}))
	require.Empty(t, checkRenewal(w.config()))
	served := store.Served{ImageDigest: "d", Failed: &store.FailedRenewal{Reason: "no mirror"}}
	require.NoError(t, records.SaveServed(served))
	require.Contains(t, checkRenewal(w.config())[0].Detail, "image d: it is served on")
	failed, err := w.FailedRenewals(w.config())
	require.NoError(t, err)
	require.Len(t, failed, 1)
	require.Equal(t, w.config().Pool, failed[0].Pool)
}
