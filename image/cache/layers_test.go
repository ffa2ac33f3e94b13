package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// layered is a recipe with so many steps, of which the last is said.
func layered(steps int, last string) image.Recipe {
	r := image.Recipe{User: "mayfly", Disk: 1 << 30, AgentSHA256: fmt.Sprint(steps, last)}
	for i := range steps - 1 {
		r.Run = append(r.Run, fmt.Sprintf("step %d", i+1))
	}
	return withStep(r, last)
}

func withStep(r image.Recipe, command string) image.Recipe {
	r.Run = append(r.Run[:len(r.Run):len(r.Run)], command)
	return r
}

// ingredients are those of all bases.
func ingredients(context.Context, image.Recipe) (string, error) { return "ingredients", nil }

// layerBuild builds in layers as a backend does, and writes down what it did: what it
// began from, and each step that it ran.
type layerBuild struct {
	did []string
	// during is called in each state, with the number of steps that are done.
	during func(done int)
	// fails is the step that fails.
	fails string
}

func (b *layerBuild) run(ctx context.Context, c *Cache, recipe image.Recipe) (image.Golden, error) {
	build := func(ctx context.Context, work string, stack *Stack) (image.Manifest, error) {
		so := image.Golden{Dir: work}
		if layer, found := stack.Top(); found {
			b.did = append(b.did, fmt.Sprintf("from %d", len(layer.Steps)-1))
			so.GoOn(layer.Manifest)
			if err := os.Link(layer.Disk(), so.Disk()); err != nil {
				return image.Manifest{}, err
			}
		} else {
			b.did = append(b.did, "base")
			so.Recipe = recipe
			so.Begin(time.Now())
			if err := os.WriteFile(so.Disk(), []byte("base"), 0o600); err != nil {
				return image.Manifest{}, err
			}
		}
		return so.Manifest, b.steps(ctx, stack, &so, recipe.Parts())
	}
	return c.BuildInLayers(ctx, recipe, ingredients, build)
}

func (b *layerBuild) steps(ctx context.Context, stack *Stack, so *image.Golden, parts []image.Step) error {
	for {
		if b.during != nil {
			b.during(len(so.Steps) - 1)
		}
		err := stack.Keep(ctx, so.Manifest, func(_ context.Context, dir string) error {
			return os.Link(so.Disk(), image.Golden{Dir: dir}.Disk())
		})
		if err != nil || len(so.Steps) == len(parts) {
			return err
		}
		next := parts[len(so.Steps)]
		b.did = append(b.did, next.Command)
		if next.Command == b.fails {
			return errors.New("exit code 1")
		}
		so.Steps = append(so.Steps, next)
	}
}

// build builds, and returns what was done for it.
func build(t *testing.T, c *Cache, recipe image.Recipe) (image.Golden, string) {
	t.Helper()
	var b layerBuild
	golden, err := b.run(t.Context(), c, recipe)
	require.NoError(t, err)
	return golden, strings.Join(b.did, ", ")
}

func TestABuildGoesOnFromTheHighestLayer(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "images"))
	five, began := layered(5, "last"), time.Now().Add(-time.Second)
	golden, did := build(t, c, five)
	require.Equal(t, "base, step 1, step 2, step 3, step 4, last", did)
	require.Empty(t, golden.Layer)
	require.Len(t, golden.Steps, 6)
	keys := five.Layers("ingredients")
	require.ElementsMatch(t, []string{keys[0], keys[4], keys[5]}, directories(t, c.Layers().cache))
	layer, found, err := c.Layers().cache.Get(keys[4])
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, five.Run[:4], layer.Recipe.Run)
	require.Len(t, layer.Steps, 5)

	changed, did := build(t, c, layered(5, "another"))
	require.Equal(t, "from 4, another", did)
	require.Equal(t, keys[4], changed.Layer)
	require.Equal(t, golden.BaseAt, changed.BaseAt)
	require.WithinRange(t, golden.BaseAt, began, golden.BuiltAt)
	for i, step := range changed.Steps {
		require.Equal(t, i < 5, step.Cached, step.Name)
	}
	longer := withStep(five, "more")
	longer.AgentSHA256 = "longer"
	_, did = build(t, c, longer)
	require.Equal(t, "from 5, more", did)
	five.AgentSHA256 = "an update"
	_, did = build(t, c, five)
	require.Equal(t, "from 5", did, "the program's bytes are in no layer")
	_, did = build(t, c, five)
	require.Empty(t, did, "the image is there")
	first := layered(1, "first")
	_, did = build(t, c, first)
	require.Equal(t, "from 0, first", did)
	none := first
	none.Run = nil
	_, did = build(t, c, none)
	require.Equal(t, "from 0", did)
}

func TestFromScratchReplacesTheLayersOfItsRecipe(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "images"))
	two, three := layered(2, "last"), withStep(layered(2, "last"), "more")
	build(t, c, two)
	build(t, c, three)
	other := layered(2, "other")
	other.Disk++
	build(t, c, other)
	three.FromScratch = true
	_, did := build(t, c, three)
	require.Empty(t, did, "the image itself is replaced only on demand")
	three.Replace = true
	golden, did := build(t, c, three)
	require.Equal(t, "base, step 1, last, more", did)
	require.Empty(t, golden.Layer)
	keys := three.Layers("ingredients")
	stay := other.Layers("ingredients")
	want := []string{keys[0], keys[2], keys[3], stay[0], stay[1], stay[2]}
	require.ElementsMatch(t, want, directories(t, c.Layers().cache),
		"that of one step is of the old base")
}

// An image is there all the time while it is replaced, and stays when that fails.
func TestTheImageThatIsReplacedStaysUntilTheNewOneIsWhole(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(t *testing.T, former image.Golden)
		used      bool
		fails     string
		want      string
	}{
		"nobody uses it":         {},
		"the build fails":        {fails: "last", want: "exit code 1"},
		"a worker is made of it": {used: true, want: "in use meanwhile"},
		"a pool holds it": {want: "in use meanwhile", meanwhile: func(t *testing.T, former image.Golden) {
			release, err := former.Hold(t.Context())
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, release()) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, recipe := filepath.Join(t.TempDir(), "images"), layered(1, "last")
			former, _ := build(t, New(dir), recipe)
			before, err := os.Stat(former.Dir)
			require.NoError(t, err)
			images := New(dir).With(func() (map[string]bool, error) {
				_, there, err := New(dir).Get(recipe.Digest())
				require.NoError(t, err)
				require.True(t, there, "the new one is whole by now")
				return map[string]bool{former.Digest: c.used}, nil
			})
			if c.meanwhile != nil {
				c.meanwhile(t, former)
			}
			recipe.FromScratch, recipe.Replace = true, true
			b := layerBuild{fails: c.fails}
			_, err = b.run(t.Context(), images, recipe)
			after, statErr := os.Stat(former.Dir)
			require.NoError(t, statErr)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
			require.Equal(t, c.want != "", os.SameFile(before, after))
			require.ElementsMatch(t, []string{layersDir, former.Digest}, directories(t, images))
		})
	}
}

// Whoever makes a layer below the one that a build goes on from does not wait for it.
func TestABuildHoldsNoLocksOfLayersThatItDoesNotMake(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "images"))
	recipe := layered(2, "last")
	build(t, c, recipe)
	keys := recipe.Layers("ingredients")
	base := image.Golden{Dir: filepath.Join(c.Layers().cache.dir, keys[0])}
	base.Digest = keys[0]
	_, err := c.Layers().cache.removeUnused(base, usedNever)
	require.NoError(t, err)
	stack, err := c.Layers().open(t.Context(), withStep(recipe, "more"), withStep(recipe, "more").Layers("ingredients"))
	require.NoError(t, err)
	defer func() { require.NoError(t, stack.close()) }()
	top, found := stack.Top()
	require.True(t, found)
	require.Equal(t, keys[2], top.Digest)
	lock, err := filelock.TryAcquire(c.Layers().cache.lockFile(keys[0]))
	require.NoError(t, err)
	require.NotNil(t, lock)
	require.NoError(t, lock.Release())
	requireLocked(t, c.Layers().cache, withStep(recipe, "more").Layers("ingredients")[3])
}

func usedNever() (map[string]bool, error) { return nil, nil }

func TestUsedImagesAreNotReplaced(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "images"))
	golden, _ := build(t, c, layered(1, "last"))
	used := func() (map[string]bool, error) { return map[string]bool{golden.Digest: true}, nil }
	removed, err := c.Remove(golden.Digest, used)
	require.NoError(t, err)
	require.False(t, removed)
	release, err := golden.Hold(t.Context())
	require.NoError(t, err)
	removed, err = c.Remove(golden.Digest, usedNever)
	require.NoError(t, err)
	require.False(t, removed)
	require.NoError(t, release())
	for range 2 {
		removed, err = c.Remove(golden.Digest, usedNever)
		require.NoError(t, err)
		require.True(t, removed)
	}
	require.NoDirExists(t, golden.Dir)
}

func TestAFailedBuildKeepsWhatWasWholeByThen(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "images"))
	three := layered(3, "last")
	b := layerBuild{fails: "last"}
	_, err := b.run(t.Context(), c, three)
	require.ErrorContains(t, err, "exit code 1")
	keys := three.Layers("ingredients")
	require.ElementsMatch(t, []string{keys[0], keys[2]}, directories(t, c.Layers().cache))
	require.Equal(t, []string{layersDir}, directories(t, c))
	_, did := build(t, c, layered(3, "mended"))
	require.Equal(t, "from 2, mended", did)
}

func TestWhatAFailedBuildHasMadeIsKeptOnDemand(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "images"))
	recipe := layered(2, "last")
	recipe.KeepFailed = true
	b := layerBuild{fails: "last"}
	_, err := b.run(t.Context(), c, recipe)
	require.ErrorContains(t, err, "exit code 1")
	_, after, found := strings.Cut(err.Error(), "what was made is in ")
	require.True(t, found, err)
	dir, _, _ := strings.Cut(after, ",")
	require.FileExists(t, image.Golden{Dir: dir}.Disk())
	unfinished, err := c.Unfinished()
	require.NoError(t, err)
	require.Len(t, unfinished, 1, "it goes when its room is wanted")
	build(t, c, layered(1, "other"))
	require.NoDirExists(t, dir)
}

// Another build finds the layer that this one has made, and not before it is whole.
func TestTwoBuildsMakeOneLayerOnce(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "images"))
	ours, theirs := layered(3, "ours"), layered(3, "theirs")
	var second layerBuild
	ended := make(chan error, 1)
	first := layerBuild{during: func(done int) {
		if done != 0 {
			return
		}
		go func() {
			_, err := second.run(t.Context(), c, theirs)
			ended <- err
		}()
		requireLocked(t, c.Layers().cache, theirs.Layers("ingredients")[0])
	}}
	_, err := first.run(t.Context(), c, ours)
	require.NoError(t, err)
	require.NoError(t, <-ended)
	require.Equal(t, []string{"base", "step 1", "step 2", "ours"}, first.did)
	require.Equal(t, []string{"from 2", "theirs"}, second.did)
}

// requireLocked wants the lock of a key to be taken.
func requireLocked(t *testing.T, c *Cache, key string) {
	t.Helper()
	lock, err := filelock.TryAcquire(c.lockFile(key))
	require.NoError(t, err)
	require.Nil(t, lock)
}

func TestDamagedLayersAreMadeAnew(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "images"))
	two := layered(2, "last")
	golden, _ := build(t, c, two)
	removed, err := c.Remove(golden.Digest, usedNever)
	require.NoError(t, err)
	require.True(t, removed)
	for _, key := range two.Layers("ingredients") {
		layer, found, err := c.Layers().cache.Get(key)
		require.NoError(t, err)
		require.True(t, found)
		require.NoError(t, os.Remove(layer.Disk()))
	}
	stale := filepath.Join(c.Layers().cache.dir, digest)
	require.NoError(t, os.Mkdir(stale, 0o700), "of no recipe")
	_, did := build(t, c, two)
	require.Equal(t, "base, step 1, last", did)
	require.NoDirExists(t, stale)
}

func TestLayersThatNobodyWantsAreBounded(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "images"))
	base := layered(1, "0")
	build(t, c, base)
	ago := func(key string, d time.Duration) {
		at := time.Now().Add(-d)
		require.NoError(t, os.Chtimes(filepath.Join(c.Layers().cache.dir, key), at, at))
	}
	keys := []string{base.Layers("ingredients")[1]}
	for i := 1; i <= mostLayers+1; i++ {
		next := layered(1, fmt.Sprint(i))
		keys = append(keys, next.Layers("ingredients")[1])
		ago(keys[i-1], time.Hour*time.Duration(mostLayers+3-i))
		build(t, c, next)
	}
	ago(keys[mostLayers-1], longestUnused+time.Hour)
	build(t, c, layered(1, "last"))
	left := directories(t, c.Layers().cache)
	require.LessOrEqual(t, len(left), mostLayers+2, "and those of the last build")
	require.Contains(t, left, base.Layers("ingredients")[0], "every build uses it")
	require.NotContains(t, left, keys[0], "it was used before the others")
	require.NotContains(t, left, keys[mostLayers-1], "it was used too long ago")
	require.Contains(t, left, keys[mostLayers])
	require.Contains(t, left, keys[mostLayers+1])

	unused, err := c.Layers().Unused()
	require.NoError(t, err)
	require.Len(t, unused, len(left))
	require.Contains(t, unused[0].What, "layer ")
}

// A layer must not be removed under a build that reads it.
func TestALayerInUseStays(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "images"))
	build(t, c, layered(2, "one"))
	user := layerBuild{during: func(int) {
		unused, err := c.Layers().Unused()
		require.NoError(t, err)
		require.Len(t, unused, 2, "one of three is held")
	}}
	_, err := user.run(t.Context(), c, layered(2, "two"))
	require.NoError(t, err)
	require.Equal(t, []string{"from 1", "two"}, user.did)
}

// layersOfChild in the environment makes the test binary a process that keeps a layer
// in that directory until its standard input ends, and says when it does.
const layersOfChild = "MAYFLY_TEST_LAYERS"

func keepAsChild(dir string) int {
	recipe := layered(2, "killed")
	fill := func(_ context.Context, dir string) error {
		if err := os.WriteFile(filepath.Join(dir, image.DiskFile), []byte("half"), 0o600); err != nil {
			return err
		}
		fmt.Println("keeping")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	build := func(ctx context.Context, _ string, stack *Stack) (image.Manifest, error) {
		return image.Manifest{}, stack.Keep(ctx, image.Manifest{Steps: recipe.Parts()[:1]}, fill)
	}
	_, err := New(dir).BuildInLayers(context.Background(), recipe, ingredients, build)
	fmt.Println(err)
	return 1
}

func TestAHalfLayerOfAKilledBuildIsNeverFound(t *testing.T) {
	dir := t.TempDir()
	killed := startAs(t, layersOfChild, dir)
	require.Equal(t, "keeping", killed.line())
	c := New(dir)
	half := directories(t, c.Layers().cache)
	require.Len(t, half, 1)
	orphans, err := c.Orphans(true)
	require.NoError(t, err)
	require.Empty(t, orphans, "it lives")
	require.NoError(t, killed.cmd.Process.Kill())
	killed.cmd.Wait()

	orphans, err = c.Orphans(false)
	require.NoError(t, err)
	require.Len(t, orphans, 2, "the image's, and the layer's")
	unfinished, err := c.Layers().Unfinished()
	require.NoError(t, err)
	require.Len(t, unfinished, 1)
	require.Contains(t, unfinished[0].What, "unfinished layer "+half[0])
	_, did := build(t, c, layered(2, "killed"))
	require.Equal(t, "base, step 1, killed", did)
	require.Len(t, directories(t, c.Layers().cache), 3)
	orphans, err = c.Orphans(false)
	require.NoError(t, err)
	require.Empty(t, orphans)
}
