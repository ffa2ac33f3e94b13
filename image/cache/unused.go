package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// removing begins the name of an image's directory while it is removed, so that
// nobody finds half an image.
const removing = ".removing-"

// Unfinished lists the directories that killed builds, and killed removals, have
// left.
func (c *Cache) Unfinished() ([]diskspace.Leftover, error) {
	names, err := c.orphans("", false)
	var found []diskspace.Leftover
	for _, name := range names {
		bytes, sizeErr := diskspace.Taken(filepath.Join(c.dir, name))
		err = errors.Join(err, sizeErr)
		found = append(found, diskspace.Leftover{
			What: "unfinished " + c.noun + " " + name, Bytes: bytes,
			Remove: func() (bool, error) { return c.checkOrphan(name, building.FindStringSubmatch(name)[1], "", true) },
		})
	}
	return found, err
}

// Which chooses among images that nobody uses, by when each was used last.
type Which func(g image.Golden, lastUse time.Time) bool

// Unused lists the images that nobody holds and that used does not name, by their
// digests, as far as they are chosen; nil chooses all. The one that was used longest ago
// is the first. Images that are damaged, those that nothing can make again, and those
// whose machine a tool of others keeps, are left to people.
func (c *Cache) Unused(used Users, which Which) ([]diskspace.Leftover, error) {
	all, err := c.unused(used, which)
	var found []diskspace.Leftover
	for _, g := range all {
		bytes, sizeErr := diskspace.Taken(g.Dir)
		err = errors.Join(err, sizeErr)
		found = append(found, diskspace.Leftover{
			What:  fmt.Sprintf("%s %s, last used %s", c.noun, g.Digest, g.lastUse.UTC().Format(time.DateTime)),
			Bytes: bytes, Remove: func() (bool, error) { return c.removeUnused(g.Golden, used) },
		})
	}
	return found, err
}

// unusedImage is an image that nobody uses.
type unusedImage struct {
	image.Golden
	lastUse time.Time
}

// unused are those of Unused.
func (c *Cache) unused(used Users, which Which) (found []unusedImage, err error) {
	goldens, _ := c.List() // whatever is damaged
	inUse, err := used()
	if err != nil {
		return nil, err
	}
	for _, g := range goldens {
		info, err := os.Stat(g.Dir)
		if err != nil || inUse[g.Digest] || g.ByHand() || !ownsItsFiles(g) {
			continue
		}
		if which != nil && !which(g, info.ModTime()) || c.isHeld(g) {
			continue
		}
		found = append(found, unusedImage{g, info.ModTime()})
	}
	slices.SortStableFunc(found, func(a, b unusedImage) int { return a.lastUse.Compare(b.lastUse) })
	return found, nil
}

// ownsItsFiles tells an image whose disk or tree is in its directory from one that
// is only a note about a machine.
func ownsItsFiles(g image.Golden) bool {
	return slices.ContainsFunc([]string{g.Disk(), g.Tree()}, func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	})
}

// isHeld looks whether anybody holds the image, or is about to make it.
func (c *Cache) isHeld(g image.Golden) bool {
	release, err := c.holdAlone(g)
	if release != nil {
		release()
	}
	return release == nil || err != nil
}

// holdAlone keeps everybody from building the image and from holding it. It returns
// nil when somebody does already.
func (c *Cache) holdAlone(g image.Golden) (release func(), err error) {
	building, err := filelock.TryAcquire(c.lockFile(g.Digest))
	if building == nil {
		return nil, err
	}
	held, err := filelock.TryAcquireDirectory(g.Dir)
	if held == nil {
		if errors.Is(err, fs.ErrNotExist) { // removed by another
			err = nil
		}
		return nil, errors.Join(err, building.Release())
	}
	return func() { _ = held.Release(); _ = building.Release() }, nil
}

// removeUnused removes an image unless somebody has come to use it. What uses an
// image without holding it was made by one who held it: so that is asked while
// nobody can.
func (c *Cache) removeUnused(g image.Golden, used Users) (removed bool, err error) {
	release, err := c.holdAlone(g)
	if release == nil {
		return false, err
	}
	defer release()
	inUse, err := used()
	if err != nil || inUse[g.Digest] {
		return false, err
	}
	if err := c.remove(g.Digest); err != nil {
		return false, err
	}
	return true, nil
}

// remove removes a directory that nobody uses. The caller holds the digest's lock.
func (c *Cache) remove(digest string) error {
	away := c.away(digest)
	err := os.Rename(filepath.Join(c.dir, digest), away)
	if err == nil {
		err = os.RemoveAll(away)
	}
	if err != nil {
		return fmt.Errorf("removing %s %s: %w", c.noun, digest, err)
	}
	return nil
}

// away is what the directory of an image is called while it is removed.
func (c *Cache) away(digest string) string { return filepath.Join(c.dir, removing+digest+"-") }

// Replaceable says whether a build may take the place of the image with the digest, if it
// is there: nobody uses it, and it can be made again.
func (c *Cache) Replaceable(digest string, used Users) (bool, error) {
	golden, found, err := c.Get(digest)
	if err != nil || !found {
		return err == nil, err
	}
	inUse, err := used()
	return err == nil && !inUse[digest] && !golden.ByHand() && ownsItsFiles(golden) && !c.isHeld(golden), err
}

// Remove removes the image with the digest unless somebody uses it; see Unused. One
// that is not there is removed already.
func (c *Cache) Remove(digest string, used Users) (removed bool, err error) {
	golden, found, err := c.Get(digest)
	switch {
	case err != nil:
		return false, err
	case !found:
		return true, nil
	case !ownsItsFiles(golden):
		return false, nil
	}
	return c.removeUnused(golden, used)
}
