package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// private is the mode of all directories: below are keys, and what jobs wrote
// to their disks.
const private = 0o700

// makeDirectories makes the directories that all pools share. The state directory,
// if it is there, keeps its mode; those below it are closed to others, also when
// an older version made them. Unmake removes those that are new and still empty.
func makeDirectories(c config.Config) (unmake func(), err error) {
	var made []string // the deepest last
	unmake = func() {
		for _, dir := range slices.Backward(made) {
			_ = os.Remove(dir) // it may have been put to use
		}
	}
	if err := checkDirectories(c); err != nil {
		return unmake, err
	}
	for _, dir := range []string{filepath.Dir(c.PoolDir()), c.ImagesDir()} {
		made = append(made, missingDirs(dir)...)
		if err := os.MkdirAll(dir, private); err != nil {
			return unmake, fmt.Errorf("making the state directory: %w: %s", err, mendStateDir)
		}
		if err := os.Chmod(dir, private); err != nil {
			return unmake, fmt.Errorf("closing the state directory to others: %w: %s", err, mendStateDir)
		}
	}
	return unmake, nil
}

// mendStateDir is what to do when nothing can be written there.
const mendStateDir = "let this user write to it, or set plugin_config.state_dir"

// checkDirectories refuses a state directory in which something else stands in the
// place of a directory of ours, as far as this pool has to do with it: what we
// write and remove would be elsewhere, or another user's to exchange.
func checkDirectories(c config.Config) error {
	pool := c.PoolDir() // without links on the way to the state directory, which are the user's to set
	pools := filepath.Dir(pool)
	state := filepath.Dir(pools)
	var wrong []error
	for _, dir := range []string{
		state, pools, filepath.Join(state, "images"), filepath.Join(state, "downloads"),
		filepath.Join(state, "addresses"), pool, filepath.Join(pool, store.WorkersDir), filepath.Join(pool, "templates"),
	} {
		if err := statefile.CheckDirectory(dir); err != nil {
			wrong = append(wrong, fmt.Errorf("plugin_config.state_dir: %w: chown it or remove it; "+
				"another disk can be mounted there", err))
		}
	}
	return errors.Join(wrong...)
}

// missingDirs returns the directory and those above it that are not there, the
// deepest last.
func missingDirs(dir string) []string {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return append(missingDirs(filepath.Dir(dir)), dir)
}
