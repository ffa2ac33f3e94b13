package wiring

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host/diskguard"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// leftovers are what may be removed to make room, of all pools of a state directory:
// first what nobody can use, then layers, which spare the next build time, then golden
// images that nobody uses, which take a build to have again, and at last downloads that
// such a build would need.
func leftovers(c config.Config) []diskguard.List {
	images := cache.New(c.ImagesDir())
	downloads := source.HTTPS{Dir: filepath.Join(c.StateDir, "downloads")}
	return []diskguard.List{
		images.Unfinished,
		images.Layers().Unfinished,
		func() ([]diskspace.Leftover, error) { return unfinishedTemplates(c) },
		downloads.Unfinished,
		images.Layers().Unused,
		func() ([]diskspace.Leftover, error) { return unusedImages(c, nil) },
		downloads.Finished,
	}
}

// unusedImages are the golden images that nobody uses and that are chosen; nil chooses all.
func unusedImages(c config.Config, which func(image.Golden, time.Time) bool) ([]diskspace.Leftover, error) {
	return cache.New(c.ImagesDir()).Unused(func() (map[string]bool, error) { return usedImages(c) }, which)
}

// usedImages are the golden images that anything of any pool was made from, by their
// digests: workers, suspended ones and orphans among them, which read through the
// image as long as they are there, and templates. A record that cannot be read is an
// error: nobody knows what its worker was made from.
func usedImages(c config.Config) (map[string]bool, error) {
	pools, err := poolDirs(c)
	if err != nil {
		return nil, err
	}
	used := make(map[string]bool)
	for _, dir := range pools {
		records, err := store.Look(dir)
		if err != nil {
			return nil, err
		}
		ids, err := records.List()
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			record, err := records.Load(id)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			used[record.ImageDigest] = true
		}
		digests, err := templateImages(dir)
		if err != nil {
			return nil, err
		}
		for _, digest := range digests {
			used[digest] = true
		}
	}
	return used, nil
}

// poolDirs are the directories of all pools.
func poolDirs(c config.Config) (dirs []string, err error) {
	parent := filepath.Dir(c.PoolDir())
	entries, err := os.ReadDir(parent)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			dirs = append(dirs, filepath.Join(parent, entry.Name()))
		}
	}
	return dirs, nil
}
