package store

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// sweep removes what a process that was killed in the midst of a write has left: a
// document that was not yet in its place, and a console whose note was still to come.
// The owner of the pool alone may call it, before it writes anything. What cannot be
// removed stays: it costs nobody more than its room.
func (s *Store) sweep() {
	removeFiles(s.dir, func(name string) bool {
		return slices.ContainsFunc([]string{BreakerFile, ForksFile, TemplateTimeFile, ServedFile, OpenedFile},
			func(document string) bool {
				return strings.HasPrefix(name, "."+document)
			})
	})
	ended := filepath.Join(s.dir, EndedDir)
	removeFiles(ended, func(name string) bool {
		id, isConsole := strings.CutSuffix(name, consoleSuffix)
		return strings.HasPrefix(name, ".") || isConsole && !exists(filepath.Join(ended, id+endedSuffix))
	})
}

// removeFiles removes the files of ours in a directory whose names are left over.
func removeFiles(dir string, leftOver func(name string) bool) {
	if statefile.CheckDirectory(dir) != nil {
		return
	}
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if entry.Type().IsRegular() && leftOver(entry.Name()) {
			_ = os.Remove(filepath.Join(dir, entry.Name()))
		}
	}
}
