package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
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
	for _, dir := range []string{filepath.Dir(c.PoolDir()), c.ImagesDir()} {
		made = append(made, missingDirs(dir)...)
		if err := os.MkdirAll(dir, private); err != nil {
			return unmake, fmt.Errorf("making the state directory: %w", err)
		}
		if err := os.Chmod(dir, private); err != nil {
			return unmake, fmt.Errorf("closing the state directory to others: %w", err)
		}
	}
	return unmake, nil
}

// missingDirs returns the directory and those above it that are not there, the
// deepest last.
func missingDirs(dir string) []string {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return append(missingDirs(filepath.Dir(dir)), dir)
}
