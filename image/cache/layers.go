package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// layersDir is the directory of layers in that of the images.
const layersDir = "layers"

// Layers that nobody uses are removed when a build begins: all but the ones used last,
// and those that were not used for so long.
const (
	mostLayers    = 8
	longestUnused = 14 * 24 * time.Hour
)

// Layers are states that builds have gone through: images that are not sealed, named by
// the keys of image.Recipe.Layers. Only builds read them, to go on from one.
type Layers struct{ cache *Cache }

// Layers returns the layers of the images in this cache.
func (c *Cache) Layers() *Layers {
	return &Layers{&Cache{filepath.Join(c.dir, layersDir), "layer", unusedByAnything}}
}

// unusedByAnything is for Unused: nothing reads a layer but a build, which holds it.
func unusedByAnything() (map[string]bool, error) { return nil, nil }

// Unused lists the layers that no build holds, the one that was used longest ago first.
func (l *Layers) Unused() ([]diskspace.Leftover, error) { return l.cache.Unused(unusedByAnything, nil) }

// Unfinished lists what killed builds, and killed removals, have left of layers.
func (l *Layers) Unfinished() ([]diskspace.Leftover, error) { return l.cache.Unfinished() }

// kept are the states of which layers are kept, counted in steps that are done: the
// base, so that a change of any step costs no packages; the last but one, so that a
// change of the last step costs that; and the last, so that another step after it does.
// Each costs a copy of the disk, which not all of a long recipe's are worth.
func kept(steps int) []int {
	return slices.Compact([]int{0, max(steps-1, 0), steps})
}

// Stack are the layers of one build.
type Stack struct {
	layers *Layers
	recipe image.Recipe
	keys   []string
	// locks are of the layers that this build is to make, by the number of steps.
	locks map[int]*filelock.Lock
	// top is the layer that the build goes on from, held by release; nil if there is none.
	top     *image.Golden
	release func() error
}

// open finds the layers of a build with those keys; see image.Recipe.Layers. Of the
// layers that it is to keep, those that another build makes are waited for, and no other
// build makes the rest until close. A build from scratch finds none: they are removed,
// and it goes on from none that another build has made by then.
func (l *Layers) open(ctx context.Context, recipe image.Recipe, keys []string) (_ *Stack, err error) {
	s := &Stack{layers: l, recipe: recipe, keys: keys, locks: map[int]*filelock.Lock{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if _, err := l.cache.orphans("", true); err != nil {
		return nil, err
	}
	if recipe.FromScratch {
		for _, key := range keys {
			if err := l.clear(ctx, key); err != nil {
				return nil, err
			}
		}
	}
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	if !recipe.FromScratch {
		if err := s.findTop(ctx); err != nil {
			return nil, err
		}
	}
	return s, l.trim()
}

// lock takes the locks of the layers that are to be made, the lowest first: all builds
// do, so that no two wait for each other. Where the highest is there, none is needed.
func (s *Stack) lock(ctx context.Context) error {
	steps := len(s.keys) - 1
	if _, there, _ := s.layers.cache.Get(s.keys[steps]); there {
		return nil
	}
	for _, done := range kept(steps) {
		lock, err := s.layers.cache.lock(ctx, s.keys[done])
		if err != nil {
			return err
		}
		s.locks[done] = lock
		_, there, damage := s.layers.cache.Get(s.keys[done])
		if damage != nil { // nobody reads it, and it can be made anew
			if err := s.layers.cache.remove(s.keys[done]); err != nil {
				return err
			}
		}
		if !there {
			continue
		}
		if err := s.unlock(done); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) unlock(done int) error {
	lock := s.locks[done]
	delete(s.locks, done)
	return lock.Release()
}

// findTop finds the highest layer that is there, whichever build has kept it.
func (s *Stack) findTop(ctx context.Context) error {
	for done, key := range slices.Backward(s.keys) {
		layer, there, _ := s.layers.cache.Get(key)
		if !there { // or it is damaged, and trim removes it
			continue
		}
		release, err := layer.Hold(ctx)
		if errors.Is(err, fs.ErrNotExist) { // removed just now
			continue
		}
		if err != nil {
			return fmt.Errorf("holding a layer: %w", err)
		}
		s.top, s.release = &layer, release
		return s.unlockBelow(done)
	}
	return nil
}

// unlockBelow lets others make the layers that this build will not come by.
func (s *Stack) unlockBelow(top int) (err error) {
	for _, done := range slices.Collect(maps.Keys(s.locks)) {
		if done < top {
			err = errors.Join(err, s.unlock(done))
		}
	}
	return err
}

// Top is the layer that the build goes on from, if there is one.
func (s *Stack) Top() (layer image.Golden, found bool) {
	if s.top == nil {
		return image.Golden{}, false
	}
	return *s.top, true
}

// Keep makes the layer of a state: fill puts its files into a directory. The manifest
// is that of the image so far. Where nobody wants the layer, nothing is done.
func (s *Stack) Keep(ctx context.Context, so image.Manifest, fill func(ctx context.Context, dir string) error) error {
	done := len(so.Steps) - 1
	if s.locks[done] == nil {
		return nil
	}
	recipe := s.recipe.UpTo(done)
	recipe.KeepFailed = false // what is kept of a build is the build's own
	err := s.layers.cache.make(ctx, s.keys[done], recipe,
		func(ctx context.Context, dir string) (image.Manifest, error) {
			return so, fill(ctx, dir)
		})
	if err != nil {
		err = fmt.Errorf("keeping layer %s: %w", s.keys[done], diskspace.Explain(s.layers.cache.dir, err))
	}
	return errors.Join(err, s.unlock(done))
}

// close lets others make what this build has not made, and have room made of what it
// has used.
func (s *Stack) close() (err error) {
	for _, done := range slices.Collect(maps.Keys(s.locks)) {
		err = errors.Join(err, s.unlock(done))
	}
	if s.release != nil {
		err = errors.Join(err, s.release())
	}
	return err
}

// clear removes a layer, whatever is there in its place, when no build uses it any more.
func (l *Layers) clear(ctx context.Context, key string) (err error) {
	lock, err := l.cache.lock(ctx, key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	held, err := filelock.AcquireDirectory(ctx, filepath.Join(l.cache.dir, key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("waiting for those who use layer %s: %w", key, err)
	}
	defer func() { err = errors.Join(err, held.Release()) }()
	return l.cache.remove(key)
}

// trim removes the layers that nobody is likely to want, and those that are damaged.
func (l *Layers) trim() error {
	unused, err := l.cache.unused(unusedByAnything, nil)
	if err != nil {
		return err
	}
	slices.Reverse(unused) // the one used last first
	gone := l.cache.damaged()
	for i, one := range unused {
		if i >= mostLayers || time.Since(one.lastUse) > longestUnused {
			gone = append(gone, one.Golden)
		}
	}
	for _, one := range gone {
		if _, err := l.cache.removeUnused(one, unusedByAnything); err != nil {
			return err
		}
	}
	return nil
}

// damaged are the directories of those that cannot be used.
func (c *Cache) damaged() (found []image.Golden) {
	entries, _ := os.ReadDir(c.dir) // what cannot be listed is said elsewhere
	for _, entry := range entries {
		if !digestPattern.MatchString(entry.Name()) || !entry.IsDir() {
			continue
		}
		if _, _, err := c.Get(entry.Name()); err != nil {
			golden := image.Golden{Dir: filepath.Join(c.dir, entry.Name())}
			golden.Digest = entry.Name()
			found = append(found, golden)
		}
	}
	return found
}
