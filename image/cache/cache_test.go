package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// digest is that of an image in testdata.
const digest = "0123456789abcdef0123456789abcdef"

// recipe and other are two recipes, of different images.
var (
	recipe = image.Recipe{User: "mayfly", Packages: []string{"make"}}
	other  = image.Recipe{User: "mayfly", Packages: []string{"cmake"}}
)

func TestBuildThenGet(t *testing.T) {
	cache := New(filepath.Join(t.TempDir(), "images"))
	_, found, err := cache.Get(recipe.Digest())
	require.NoError(t, err)
	require.False(t, found)

	began := time.Now().Truncate(time.Second)
	built, err := cache.Build(t.Context(), recipe, builder("golden"))
	require.NoError(t, err)
	got, found, err := cache.Get(recipe.Digest())
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, built, got)
	require.Equal(t, "/dev/vda", got.Root)
	require.Equal(t, recipe, got.Recipe)
	require.WithinRange(t, got.BuiltAt, began, time.Now())
	require.Positive(t, got.BuiltSeconds)
	require.True(t, filepath.IsAbs(got.Dir))
	for _, dir := range []string{got.Dir, filepath.Dir(got.Dir)} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), dir)
	}
	for _, path := range []string{got.Disk(), got.Kernel(), got.Initrd()} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o444), info.Mode().Perm(), path)
	}

	again, err := cache.Build(t.Context(), recipe, func(context.Context, string) (string, error) {
		t.Error("built twice")
		return "", nil
	})
	require.NoError(t, err)
	require.Equal(t, built, again)
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	cache := New(t.TempDir())
	broken := errors.New("no mirror")
	_, err := cache.Build(t.Context(), recipe, func(_ context.Context, dir string) (string, error) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, image.DiskFile), nil, 0o600))
		return "", broken
	})
	require.ErrorIs(t, err, broken)
	require.Empty(t, directories(t, cache))
}

func TestCancelledBuildLeavesNothing(t *testing.T) {
	cache := New(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	_, err := cache.Build(ctx, recipe, func(context.Context, string) (string, error) {
		cancel()
		return "", nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, directories(t, cache))
}

func TestOrphansAreBuildsThatNobodyWorksOn(t *testing.T) {
	cache := New(filepath.Join(t.TempDir(), "images"))
	names, err := cache.Orphans(true)
	require.NoError(t, err)
	require.Empty(t, names, "nothing is there")

	dead, alive := ".building-"+strings.Repeat("0", 32)+"-1-1", ".building-"+digest+"-1-1"
	for _, name := range []string{dead, alive, ".building-x"} {
		require.NoError(t, os.MkdirAll(filepath.Join(cache.dir, name), 0o700))
	}
	lock, err := filelock.Acquire(t.Context(), cache.lockFile(digest))
	require.NoError(t, err)
	defer lock.Release()
	for _, remove := range []bool{false, true} {
		names, err = cache.Orphans(remove)
		require.NoError(t, err)
		require.Equal(t, []string{dead}, names)
	}
	require.NoDirExists(t, filepath.Join(cache.dir, dead))
	require.DirExists(t, filepath.Join(cache.dir, alive))
}

func TestDigestNeverLeavesTheDirectory(t *testing.T) {
	cache := New(t.TempDir())
	for _, bad := range []string{"", "..", "../" + digest, strings.ToUpper(digest), digest + "/x"} {
		_, _, err := cache.Get(bad)
		require.Error(t, err, bad)
	}
}

func TestManifestsThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"update the plugin":    `{"version": 2, "digest": "` + digest + `"}`,
		"version 2":            `{"version": 2, "digest": {"of": "another shape"}}`,
		"version 0":            `{"digest": "` + digest + `"}`,
		"that of ffff":         `{"version": 1, "digest": "ffff"}`,
		"reading its manifest": `{"version": 1`,
	} {
		cache := New(t.TempDir())
		require.NoError(t, os.Mkdir(filepath.Join(cache.dir, digest), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(cache.dir, digest, image.ManifestFile), []byte(text), 0o644))
		_, found, err := cache.Get(digest)
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, filepath.Join(cache.dir, digest))
		require.ErrorContains(t, err, "remove that directory")
		require.False(t, found)
	}
}

// Each start of a worker would fail with it, and not say why.
func TestDamagedImagesAreRefused(t *testing.T) {
	tree := image.Recipe{Form: image.Tree}
	for name, test := range map[string]struct {
		recipe image.Recipe
		damage func(golden image.Golden) error
		want   string
	}{
		"no disk":        {recipe, func(g image.Golden) error { return os.Remove(g.Disk()) }, ": its disk.raw is missing"},
		"truncated disk": {recipe, truncated, ": its disk.raw has 3 bytes, and was made with 6"},
		"no kernel":      {recipe, func(g image.Golden) error { return os.Remove(g.Kernel()) }, ": its kernel is missing"},
		"no initrd":      {recipe, func(g image.Golden) error { return os.Remove(g.Initrd()) }, ": its initrd is missing"},
		"no tree":        {tree, func(g image.Golden) error { return os.RemoveAll(g.Tree()) }, ": its root is missing"},
		"a linked disk": {recipe, func(g image.Golden) error {
			return errors.Join(os.Remove(g.Disk()), os.Symlink("/etc/hostname", g.Disk()))
		}, ": its disk.raw is not a regular file"},
		"empty tree": {tree, func(g image.Golden) error { return os.Remove(filepath.Join(g.Tree(), "file")) }, ": its root is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			cache := New(filepath.Join(t.TempDir(), "images"))
			golden, err := cache.Build(t.Context(), test.recipe, builder("golden"))
			require.NoError(t, err)
			require.NoError(t, test.damage(golden))
			_, found, err := cache.Get(golden.Digest)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, "golden image "+golden.Dir+": ")
			require.ErrorContains(t, err, "; remove that directory to have it built again")
			require.NotContains(t, err.Error(), "\n")
			require.False(t, found)

			_, err = cache.Build(t.Context(), test.recipe, builder("golden"))
			require.ErrorContains(t, err, test.want, "workers may live on what is left")
			require.NoError(t, os.RemoveAll(golden.Dir))
			_, err = cache.Build(t.Context(), test.recipe, builder("golden"))
			require.NoError(t, err)
		})
	}
}

// What stands in an image's place is not read, and not built over.
func TestWhatIsNoDirectoryOfAnImageIsRefused(t *testing.T) {
	whole, err := New(filepath.Join(t.TempDir(), "images")).Build(t.Context(), recipe, builder("golden"))
	require.NoError(t, err)
	for name, plant := range map[string]func(path string) error{
		"symbolic link": func(path string) error { return os.Symlink(whole.Dir, path) },
		"regular file":  func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		cache := New(t.TempDir())
		require.NoError(t, plant(filepath.Join(cache.dir, whole.Digest)))
		for _, get := range []func() (image.Golden, error){
			func() (image.Golden, error) {
				g, _, err := cache.Get(whole.Digest)
				return g, err
			},
			func() (image.Golden, error) { return cache.Build(t.Context(), recipe, builder("golden")) },
		} {
			_, err := get()
			require.ErrorAs(t, err, &image.Damaged{})
			require.ErrorContains(t, err, "is a "+name+", and should be a directory")
		}
	}
	require.FileExists(t, whole.Disk())
}

// truncated needs no permission to write to the file.
func truncated(g image.Golden) error {
	return errors.Join(os.Remove(g.Disk()), os.WriteFile(g.Disk(), []byte("gol"), 0o444))
}

// The sample is a manifest as version 1 was written; every later version must
// be able to read it.
func TestManifestOfVersion1(t *testing.T) {
	cache := New("testdata")
	golden, found, err := cache.Get(digest)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "LABEL=mayfly", golden.Root)
	require.Equal(t, []string{"make"}, golden.Recipe.Packages)
}

func TestListShowsWholeImagesBesideDamagedOnes(t *testing.T) {
	cache := New(filepath.Join(t.TempDir(), "images"))
	found, err := cache.List()
	require.NoError(t, err)
	require.Empty(t, found)

	for _, r := range []image.Recipe{recipe, other} {
		_, err := cache.Build(t.Context(), r, builder("golden"))
		require.NoError(t, err)
	}
	damaged := strings.Repeat("a", 32)
	require.NoError(t, os.Mkdir(filepath.Join(cache.dir, damaged), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(cache.dir, ".building-x"), 0o755))

	found, err = cache.List()
	require.ErrorContains(t, err, damaged)
	require.Len(t, found, 2)
	digests := []string{recipe.Digest(), other.Digest()}
	slices.Sort(digests)
	require.Equal(t, digests, []string{found[0].Digest, found[1].Digest})
}

// builder makes an image whose files hold content, with a tree beside them.
func builder(content string) Builder {
	return func(_ context.Context, dir string) (string, error) {
		if err := os.Mkdir(filepath.Join(dir, image.TreeDir), 0o755); err != nil {
			return "", err
		}
		for _, name := range []string{image.DiskFile, image.KernelFile, image.InitrdFile, image.TreeDir + "/file"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				return "", err
			}
		}
		return "/dev/vda", nil
	}
}

func directories(t *testing.T, cache *Cache) []string {
	t.Helper()
	entries, err := os.ReadDir(cache.dir)
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names
}

func TestNotesAreSecretAndComeBack(t *testing.T) {
	type keys struct{ Key string }
	dir := t.TempDir()
	require.ErrorIs(t, ReadNote(dir, "note.json", &keys{}), os.ErrNotExist)
	require.NoError(t, WriteNote(dir, "note.json", keys{"secret"}))
	var read keys
	require.NoError(t, ReadNote(dir, "note.json", &read))
	require.Equal(t, keys{"secret"}, read)
	info, err := os.Stat(filepath.Join(dir, "note.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, os.WriteFile(filepath.Join(dir, "note.json"), []byte(`{"Key": `), 0o600))
	require.ErrorContains(t, ReadNote(dir, "note.json", &read), filepath.Join(dir, "note.json"))
}
