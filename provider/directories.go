package provider

import (
	"fmt"
	"os"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// private is the mode of all directories: below are keys, and what jobs wrote
// to their disks.
const private = 0o700

// makeDirectories makes what all pools share. The state directory, if it is
// there, keeps the mode that somebody gave it; what is ours below it is closed
// to others, also when an older version made it.
func makeDirectories(c config.Config) error {
	for _, dir := range []string{filepath.Dir(c.PoolDir()), c.ImagesDir()} {
		if err := os.MkdirAll(dir, private); err != nil {
			return fmt.Errorf("making the state directory: %w", err)
		}
		if err := os.Chmod(dir, private); err != nil {
			return fmt.Errorf("closing the state directory to others: %w", err)
		}
	}
	return nil
}
