package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// saver is a backend that notes what it was to save, and ends the worker.
type saver struct {
	backend.Backend
	images *cache.Cache
	saved  []string
}

func (s *saver) Save(
	ctx context.Context, _ image.Golden, id string, recipe image.Recipe, _ image.Progress,
) (image.Golden, error) {
	if recipe.Agent == "" {
		return image.Golden{}, errors.New("nobody could install the agent")
	}
	s.saved = append(s.saved, id)
	return s.images.Build(ctx, recipe, func(_ context.Context, work string) (root string, err error) {
		return "", os.WriteFile(filepath.Join(work, image.DiskFile), nil, 0o600)
	})
}

// shells is a world whose backend can save, and an image.
func shells(t *testing.T) (*world, *saver, image.Golden) {
	t.Helper()
	w := newWorld(t)
	s := &saver{Backend: w.assembly.Backend, images: cache.New(w.config().ImagesDir())}
	w.assembly.Backend = s
	golden, _, err := w.BuildImage(t.Context(), w.config(), "ci", Building{}, func(string, string) {}, silent)
	require.NoError(t, err)
	return w, s, golden
}

func (w *world) shell(
	golden image.Golden, save string, work func(context.Context, Clone) error,
) (image.Golden, error) {
	return w.Shell(w.t.Context(), w.config(), golden, Shell{Work: work, Save: save}, func(string, string) {}, silent)
}

// requireNoClone wants nothing left of shells.
func (w *world) requireNoClone() {
	w.t.Helper()
	c, err := w.config().With(func(c *config.Config) { c.Pool = config.PoolShell })
	require.NoError(w.t, err)
	left, err := w.Orphans(w.t.Context(), c)
	require.NoError(w.t, err)
	require.Empty(w.t, left)
}

func TestAShellHasACloneThatGoesWithIt(t *testing.T) {
	w, s, golden := shells(t)
	broken := errors.New("the session broke")
	for _, ends := range []error{nil, broken} {
		var dir string
		_, err := w.shell(golden, "", func(ctx context.Context, clone Clone) error {
			dir = clone.Dir
			require.DirExists(t, dir)
			identity := guest.Identity{Hostname: clone.ID, User: clone.User, HostKeyPublic: clone.HostKeyPublic}
			require.Equal(t, "ci", clone.User)
			require.NoError(t, access.SSH{}.Run(ctx, clone.Address, identity, clone.Key, "true"))
			_, err := w.shell(golden, "", func(context.Context, Clone) error { panic("there is one at a time") })
			require.ErrorContains(t, err, "a shell is open already")
			return ends
		})
		require.ErrorIs(t, err, ends)
		require.NoDirExists(t, dir)
		w.requireNoClone()
	}
	require.Empty(t, s.saved)
}

func TestAShellLeavesAnImageThatItsNameMeans(t *testing.T) {
	w, s, golden := shells(t)
	broken := errors.New("exit code 1")
	_, err := w.shell(golden, "tools", func(context.Context, Clone) error { return broken })
	require.ErrorIs(t, err, broken)
	require.Empty(t, s.saved, "what failed is not saved")

	c, err := w.config().With(func(c *config.Config) {
		c.Image.Source = image.Source{Kind: image.Saved, Location: "tools"}
	})
	require.NoError(t, err)
	_, err = w.recipeHere(c, "ci")
	require.ErrorContains(t, err, "image shell --save tools")

	saved, err := w.shell(golden, "tools", func(context.Context, Clone) error { return nil })
	require.NoError(t, err)
	require.Len(t, s.saved, 1)
	w.requireNoClone()
	recipe, err := w.recipeHere(c, "ci")
	require.NoError(t, err)
	require.Equal(t, saved.Digest, recipe.Digest(), "the name alone asks for what was saved")
	require.WithinDuration(t, time.Now(), recipe.Source.SavedAt, time.Hour)

	_, err = w.shell(golden, "tools", func(context.Context, Clone) error { panic("the name is taken") })
	require.ErrorContains(t, err, "image "+saved.Digest+" has that name")
}

func TestABackendThatCannotSaveSaysSoBeforeTheShell(t *testing.T) {
	w := newWorld(t)
	golden, _, err := w.BuildImage(t.Context(), w.config(), "ci", Building{}, func(string, string) {}, silent)
	require.NoError(t, err)
	_, err = w.shell(golden, "tools", func(context.Context, Clone) error { panic("it could not be saved") })
	require.ErrorIs(t, err, errCannotSave)
}
