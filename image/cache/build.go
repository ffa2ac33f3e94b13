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

// Build returns the golden image of the recipe, and has it built when there is
// none. Of all who ask for one image at the same time, in this process or
// another, one builds; the others wait and take what it made, or try for
// themselves when it failed. A build that fails leaves nothing. Orphans of
// killed builds, of whatever recipe, are removed before the next build begins.
func (c *Cache) Build(ctx context.Context, recipe image.Recipe, build Builder) (golden image.Golden, err error) {
	digest := recipe.Digest()
	lock, err := c.lock(ctx, digest)
	if err != nil {
		return image.Golden{}, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()

	golden, found, err := c.Get(digest)
	if found || err != nil {
		return golden, err
	}
	if _, err := c.orphans(digest, true); err != nil {
		return image.Golden{}, err
	}
	if err := c.buildLocked(ctx, recipe, build); err != nil {
		return image.Golden{}, fmt.Errorf("building image %s: %w", digest, diskspace.Explain(c.dir, err))
	}
	golden, _, err = c.Get(digest)
	return golden, err
}

// lock takes the lock of a digest. Its file is never removed: two processes could
// each lock a file of that name if it were.
func (c *Cache) lock(ctx context.Context, digest string) (*filelock.Lock, error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of golden images: %w", diskspace.Explain(c.dir, err))
	}
	lock, err := filelock.Acquire(ctx, c.lockFile(digest))
	if err != nil {
		return nil, fmt.Errorf("waiting for image %s: %w", digest, err)
	}
	return lock, nil
}

func (c *Cache) lockFile(digest string) string { return filepath.Join(c.dir, ".lock-"+digest) }

// building finds the digest in the name of the directory of a build, or of an image
// that was being removed.
var building = regexp.MustCompile(`^\.(?:building|removing)-([0-9a-f]{32})-`)

// Orphans lists the directories of builds that no living process works on, by
// their names, and removes them if it is told to.
func (c *Cache) Orphans(remove bool) (names []string, err error) { return c.orphans("", remove) }

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

func (c *Cache) buildLocked(ctx context.Context, recipe image.Recipe, build Builder) (err error) {
	began, digest := time.Now(), recipe.Digest()
	work, err := os.MkdirTemp(c.dir, fmt.Sprintf(".building-%s-%d-", digest, os.Getpid()))
	if err != nil {
		return err
	}
	defer func() { // after success nothing has that name any more
		err = errors.Join(err, os.RemoveAll(work))
	}()
	root, err := build(ctx, work)
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
		Version: image.ManifestVersion, Digest: digest, Recipe: recipe, Root: root, Files: files,
		BuiltAt: time.Now().UTC().Truncate(time.Second), BuiltSeconds: time.Since(began).Seconds(),
	})
	if err != nil {
		return err
	}
	return c.publish(work, digest)
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
	if err := os.Rename(work, filepath.Join(c.dir, digest)); err != nil {
		return err
	}
	return sync(c.dir)
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
