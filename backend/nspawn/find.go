//go:build linux

package nspawn

import "path/filepath"

// rootDir is the container's root file system in the worker's directory. Its path
// is on the supervisor's command line, and tells which worker that belongs to.
const rootDir = "root"

func (b *Backend) directory(id string) string {
	return filepath.Join(b.options.WorkersDir, id, rootDir)
}
