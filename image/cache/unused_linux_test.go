package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// recipes are of images of their own.
func recipes(n int) (list []image.Recipe) {
	for i := range n {
		list = append(list, image.Recipe{User: "mayfly", Disk: int64(i + 1)})
	}
	return list
}

// usedBy is what uses images, as pools would say.
func usedBy(digests ...string) func() (map[string]bool, error) {
	return func() (map[string]bool, error) {
		used := make(map[string]bool)
		for _, digest := range digests {
			used[digest] = true
		}
		return used, nil
	}
}

// digests are those of the images that were found.
func digests(t *testing.T, found []diskspace.Leftover) (digests []string) {
	t.Helper()
	for _, l := range found {
		require.Positive(t, l.Bytes)
		digests = append(digests, l.What[len("golden image "):][:32])
	}
	return digests
}

func TestImagesInUseAreNoneToRemove(t *testing.T) {
	c := New(t.TempDir())
	var made []image.Golden
	for _, r := range recipes(4) {
		golden, err := c.Build(t.Context(), r, builder("golden"))
		require.NoError(t, err)
		made = append(made, golden)
	}
	release, err := made[0].Hold(t.Context())
	require.NoError(t, err)
	again, err := made[0].Hold(t.Context())
	require.NoError(t, err, "any number of pools use one image")
	ago := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(made[3].Dir, ago, ago))

	found, err := c.Unused(usedBy(made[1].Digest), nil)
	require.NoError(t, err)
	require.Equal(t, []string{made[3].Digest, made[2].Digest}, digests(t, found), "the one used longest ago first")
	long := func(_ image.Golden, lastUse time.Time) bool { return time.Since(lastUse) > time.Minute }
	found, err = c.Unused(usedBy(made[1].Digest), long)
	require.NoError(t, err)
	require.Equal(t, []string{made[3].Digest}, digests(t, found), "as far as they are chosen")
	_, err = c.Unused(func() (map[string]bool, error) { return nil, errors.New("a record is newer") }, nil)
	require.ErrorContains(t, err, "a record is newer")

	removed, err := found[0].Remove()
	require.NoError(t, err)
	require.True(t, removed)
	_, there, err := c.Get(made[3].Digest)
	require.NoError(t, err)
	require.False(t, there)
	_, err = made[3].Hold(t.Context())
	require.ErrorIs(t, err, fs.ErrNotExist)
	removed, err = found[0].Remove()
	require.NoError(t, err)
	require.False(t, removed, "another process did")

	require.NoError(t, release())
	found, err = c.Unused(usedBy(made[1].Digest), nil)
	require.NoError(t, err)
	require.Equal(t, []string{made[2].Digest}, digests(t, found), "one still holds it")
	require.NoError(t, again())
	found, err = c.Unused(usedBy(made[1].Digest), nil)
	require.NoError(t, err)
	require.Equal(t, []string{made[2].Digest, made[0].Digest}, digests(t, found), "it was used a moment ago")
}

// TestImageThatIsChosenMeanwhileStays has each way of coming to use an image happen
// after it was found to be unused.
// What a shell has saved, nobody can make again.
func TestSavedImagesAreLeftToPeople(t *testing.T) {
	c := New(t.TempDir())
	of := image.Recipe{User: "mayfly", Disk: 1}
	recipe := image.SavedRecipe(of, "tools", time.Now())
	_, found, err := c.Saved("tools")
	require.NoError(t, err)
	require.False(t, found)
	golden, err := c.Build(t.Context(), recipe, builder("golden"))
	require.NoError(t, err)

	saved, found, err := c.Saved("tools")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, golden.Digest, saved.Digest)
	held, release, err := c.HoldSaved(t.Context(), recipe)
	require.NoError(t, err)
	require.Equal(t, golden.Digest, held.Digest)
	may, err := c.Replaceable(golden.Digest, usedBy())
	require.NoError(t, err)
	require.False(t, may)
	require.NoError(t, release())
	unused, err := c.Unused(usedBy(), nil)
	require.NoError(t, err)
	require.Empty(t, unused)

	other := image.SavedRecipe(of, "tools", time.Now())
	_, _, err = c.HoldSaved(t.Context(), other)
	require.ErrorContains(t, err, `image.source "saved:tools": it is there no more`)
	recipe.User = "ci"
	_, _, err = c.HoldSaved(t.Context(), recipe)
	require.ErrorContains(t, err, `connector_config.username to "mayfly"`)

	removed, err := c.Remove(golden.Digest, usedBy())
	require.NoError(t, err)
	require.True(t, removed, "people can")
}

func TestImageThatIsChosenMeanwhileStays(t *testing.T) {
	c := New(t.TempDir())
	golden, err := c.Build(t.Context(), recipe, builder("golden"))
	require.NoError(t, err)
	var uses []string
	found, err := c.Unused(func() (map[string]bool, error) { return usedBy(uses...)() }, nil)
	require.NoError(t, err)
	require.Len(t, found, 1)
	stays := func() {
		t.Helper()
		removed, err := found[0].Remove()
		require.NoError(t, err)
		require.False(t, removed)
		_, there, err := c.Get(golden.Digest)
		require.NoError(t, err)
		require.True(t, there)
	}

	uses = []string{golden.Digest} // a worker suspended by a process that ended
	stays()
	uses = nil
	release, err := golden.Hold(t.Context())
	require.NoError(t, err)
	stays()
	require.NoError(t, release())
	lock, err := c.lock(t.Context(), golden.Digest) // a pool that opens
	require.NoError(t, err)
	stays()
	require.NoError(t, lock.Release())

	removed, err := found[0].Remove()
	require.NoError(t, err)
	require.True(t, removed)
	golden, err = c.Build(t.Context(), recipe, builder("golden"))
	require.NoError(t, err, "it is built again")
	_, err = golden.Hold(t.Context())
	require.NoError(t, err)
}

func TestHalfRemovedImagesAreUnfinishedOnes(t *testing.T) {
	c := New(t.TempDir())
	golden, err := c.Build(t.Context(), recipe, builder("golden"))
	require.NoError(t, err)
	require.NoError(t, os.Rename(golden.Dir, filepath.Join(c.dir, removing+golden.Digest+"-")))
	build := filepath.Join(c.dir, ".building-"+other.Digest()+"-1-x")
	require.NoError(t, os.Mkdir(build, 0o700))
	lock, err := c.lock(t.Context(), other.Digest())
	require.NoError(t, err)
	found, err := c.Unfinished()
	require.NoError(t, err)
	require.Len(t, found, 1, "somebody works on the other")
	removed, err := found[0].Remove()
	require.NoError(t, err)
	require.True(t, removed)
	require.NoError(t, lock.Release())
	found, err = c.Unfinished()
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Contains(t, found[0].What, filepath.Base(build))
}

// A machine that a tool of others keeps is not in the image's directory, which would
// free nothing.
func TestNotesAboutMachinesOfOthersStay(t *testing.T) {
	c := New(t.TempDir())
	_, err := c.Build(t.Context(), recipe, func(_ context.Context, work string) (string, error) {
		return "", WriteNote(work, "machine.json", "golden")
	})
	require.NoError(t, err)
	found, err := c.Unused(usedBy(), nil)
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestBuildOnAFullDiskLeavesNothingAndGoesOnWithRoom(t *testing.T) {
	d := sandbox.NewDisk(t, 64<<20)
	c := New(filepath.Join(d.Dir, "images"))
	old, err := c.Build(t.Context(), other, builder("golden"))
	require.NoError(t, err)
	large := func(_ context.Context, work string) (string, error) {
		return "root=/dev/vda", os.WriteFile(filepath.Join(work, image.DiskFile), make([]byte, 16<<20), 0o600)
	}
	silent := func(ctx context.Context, work string) (string, error) {
		if _, err := large(ctx, work); err != nil {
			return "", errors.New("a guest's write failed")
		}
		return "", nil
	}
	d.Fill(8 << 20)
	before := d.Free()
	for words, build := range map[string]Builder{"is full": large, "has almost no room left": silent} {
		_, err = c.Build(t.Context(), recipe, build)
		require.ErrorContains(t, err, "the file system of "+c.dir+" "+words)
		require.True(t, diskspace.IsFull(err))
		require.InDelta(t, before, d.Free(), 1<<20, "the half image is gone")
	}
	d.Fill(0)
	_, err = c.Build(t.Context(), recipe, large)
	require.ErrorContains(t, err, "is full")
	got, found, err := c.Get(other.Digest())
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, old, got, "what was there is as it was")

	d.Empty()
	_, err = c.Build(t.Context(), recipe, large)
	require.NoError(t, err)
	unfinished, err := c.Unfinished()
	require.NoError(t, err)
	require.Empty(t, unfinished)
}
