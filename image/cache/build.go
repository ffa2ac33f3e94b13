package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Builder makes an image in workdir, which is new and empty. All that it leaves
// there stays with the image; the names of the image's own files are in package
// image. It returns Root of the manifest; the cache fills in the rest.
type Builder func(ctx context.Context, workdir string) (root string, err error)

// LayeredBuilder is a Builder of an image that is made in layers. Of the manifest that
// it returns, the cache takes Root, Steps, Layer and BaseAt.
type LayeredBuilder func(ctx context.Context, workdir string, stack *Stack) (image.Manifest, error)

// Ingredients are those of image.Recipe.Layers. They are asked for only when there is
// something to build.
type Ingredients func(ctx context.Context, recipe image.Recipe) (string, error)

// Build returns the golden image of the recipe, and has it built when there is
// none, or when the recipe has it replaced. Of all who ask for one image at the same time, in this process or
// another, one builds; the others wait and take what it made, or try for
// themselves when it failed. A build that fails leaves nothing, unless the recipe has
// it kept: then its directory is left as that of a killed one, and the error names it.
// Orphans of killed builds, of whatever recipe, are removed before the next build begins.
func (c *Cache) Build(ctx context.Context, recipe image.Recipe, build Builder) (image.Golden, error) {
	return c.build(ctx, recipe, func(ctx context.Context, work string) (image.Manifest, error) {
		root, err := build(ctx, work)
		return image.Manifest{Root: root}, err
	})
}

// BuildInLayers is Build for images that are made in layers.
func (c *Cache) BuildInLayers(
	ctx context.Context, recipe image.Recipe, ingredients Ingredients, build LayeredBuilder,
) (image.Golden, error) {
	return c.build(ctx, recipe, func(ctx context.Context, work string) (made image.Manifest, err error) {
		of, err := ingredients(ctx, recipe)
		if err != nil {
			return image.Manifest{}, err
		}
		stack, err := c.Layers().open(ctx, recipe, recipe.Layers(of))
		if err != nil {
			return image.Manifest{}, err
		}
		defer func() { err = errors.Join(err, stack.close()) }()
		return build(ctx, work, stack)
	})
}

// maker fills a directory, and returns what it knows of the manifest.
type maker func(ctx context.Context, workdir string) (image.Manifest, error)

func (c *Cache) build(ctx context.Context, recipe image.Recipe, build maker) (golden image.Golden, err error) {
	digest := recipe.Digest()
	lock, err := c.lock(ctx, digest)
	if err != nil {
		return image.Golden{}, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()

	golden, found, err := c.Get(digest)
	if found && !recipe.Replace || err != nil {
		return golden, err
	}
	if _, err := c.orphans(digest, true); err != nil {
		return image.Golden{}, err
	}
	if err := c.make(ctx, digest, recipe, build); err != nil {
		return image.Golden{}, fmt.Errorf("building image %s: %w", digest, diskspace.Explain(c.dir, err))
	}
	golden, _, err = c.Get(digest)
	return golden, err
}

// lock takes the lock of a digest. Its file is never removed: two processes could
// each lock a file of that name if it were.
func (c *Cache) lock(ctx context.Context, digest string) (*filelock.Lock, error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of %ss: %w", c.noun, diskspace.Explain(c.dir, err))
	}
	lock, err := filelock.Acquire(ctx, c.lockFile(digest))
	if err != nil {
		return nil, fmt.Errorf("waiting for %s %s: %w", c.noun, digest, err)
	}
	return lock, nil
}

func (c *Cache) lockFile(digest string) string { return filepath.Join(c.dir, ".lock-"+digest) }

// building finds the digest in the name of the directory of a build, or of an image
// that was being removed.
var building = regexp.MustCompile(`^\.(?:building|removing)-([0-9a-f]{32})-`)

// Orphans lists the directories of builds that no living process works on, those of
// layers among them, by their names, and removes them if it is told to.
func (c *Cache) Orphans(remove bool) (names []string, err error) {
	images, err := c.orphans("", remove)
	layers, layersErr := c.Layers().cache.orphans("", remove)
	return slices.Concat(images, layers), errors.Join(err, layersErr)
}

// orphans is Orphans for a caller that may hold the lock of one digest.
func (c *Cache) orphans(locked string, remove bool) (names []string, err error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for orphans of builds: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		name := building.FindStringSubmatch(entry.Name())
		if name == nil {
			continue
		}
		orphan, err := c.checkOrphan(entry.Name(), name[1], locked, remove)
		if orphan {
			names = append(names, entry.Name())
		}
		errs = append(errs, err)
	}
	return names, errors.Join(errs...)
}

// checkOrphan tells whether no process works on a build, and removes the build
// then if it is told to. It holds the digest's lock meanwhile, so that no process
// can begin to.
func (c *Cache) checkOrphan(name, digest, locked string, remove bool) (orphan bool, err error) {
	if digest != locked {
		lock, err := filelock.TryAcquire(c.lockFile(digest))
		if lock == nil {
			return false, err
		}
		defer lock.Release()
	}
	if remove {
		err = os.RemoveAll(filepath.Join(c.dir, name))
	}
	if err != nil {
		err = fmt.Errorf("removing the orphan of a build: %w", err)
	}
	return true, err
}

// make makes what is to have that digest in a directory of its own, which gets its name
// when all of it is there. The caller holds the digest's lock.
func (c *Cache) make(ctx context.Context, digest string, recipe image.Recipe, fill maker) (err error) {
	began := time.Now()
	work, err := os.MkdirTemp(c.dir, fmt.Sprintf(".building-%s-%d-", digest, os.Getpid()))
	if err != nil {
		return err
	}
	defer func() { // after success nothing has that name any more
		if err != nil && recipe.KeepFailed {
			err = fmt.Errorf("%w\nwhat was made is in %s, until the next build or gc", err, work)
			return
		}
		err = errors.Join(err, os.RemoveAll(work))
	}()
	made, err := fill(ctx, work)
	if err != nil {
		return diskspace.Suspect(c.dir, err) // while all is there that it wrote
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	files, err := measure(work)
	if err != nil {
		return err
	}
	err = writeManifest(filepath.Join(work, image.ManifestFile), image.Manifest{
		Version: image.ManifestVersion, Digest: digest, Recipe: recipe, Root: made.Root, Files: files,
		BuiltAt: time.Now().UTC().Truncate(time.Second), BuiltSeconds: time.Since(began).Seconds(),
		Steps: made.Steps, Layer: made.Layer, BaseAt: made.BaseAt,
	})
	if err != nil {
		return err
	}
	return c.publish(work, digest)
}

// errUsed says that the image that was to be replaced has come to be used.
var errUsed = errors.New("the one that is there is in use meanwhile, and stays")

// inPlaceOf calls publish when the image that it takes the place of, if there is one, is
// put away, and removes that one after it.
func (c *Cache) inPlaceOf(digest string, publish func() error) error {
	former, found, err := c.Get(digest)
	if err != nil {
		return err
	}
	if !found {
		return publish()
	}
	held, err := filelock.TryAcquireDirectory(former.Dir)
	if held == nil {
		return errors.Join(errUsed, err)
	}
	defer held.Release()
	inUse, err := c.used()
	if err == nil && inUse[digest] {
		err = errUsed
	}
	if err != nil {
		return err
	}
	away := c.away(digest)
	if err := os.Rename(former.Dir, away); err != nil {
		return err
	}
	if err := publish(); err != nil {
		return errors.Join(err, os.Rename(away, former.Dir))
	}
	return os.RemoveAll(away)
}

// parts are the files that golden images are made of, besides trees. Backends
// differ in which of them they have.
var parts = []string{image.DiskFile, image.KernelFile, image.InitrdFile}

// measure returns the sizes of the parts that are there.
func measure(dir string) (map[string]int64, error) {
	sizes := make(map[string]int64)
	for _, name := range parts {
		info, err := os.Stat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("measuring the image: %w", err)
		}
		sizes[name] = info.Size()
	}
	return sizes, nil
}

func writeManifest(path string, manifest image.Manifest) error {
	text, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return fmt.Errorf("writing manifest: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing manifest: %w", err)
	}
	return nil
}

// publish gives the finished directory its name, after everything in it is on
// the disk, so that an image that is found after a power cut is whole.
func (c *Cache) publish(work, digest string) error {
	if err := seal(work); err != nil {
		return err
	}
	if err := sync(work); err != nil {
		return err
	}
	return c.inPlaceOf(digest, func() error {
		if err := os.Rename(work, filepath.Join(c.dir, digest)); err != nil {
			return err
		}
		return sync(c.dir)
	})
}

// seal makes the files of a golden image read-only: all its workers read them.
func seal(dir string) error {
	for _, name := range slices.Concat(parts, []string{image.ManifestFile}) {
		path := filepath.Join(dir, name)
		err := os.Chmod(path, 0o444)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("sealing: %w", err)
		}
		if err := sync(path); err != nil {
			return err
		}
	}
	return nil
}

// sync writes a file or a directory to the disk. It needs no permission to write.
func sync(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	return errors.Join(file.Sync(), file.Close())
}
