//go:build linux

package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// Unfinished lists what makers of templates that were killed have left, and
// templates that were taken out of use. It is empty while one is made.
func (s *Shelf) Unfinished() (found []diskspace.Leftover, err error) {
	err = s.each(func(name string, whole bool) error {
		if whole {
			return nil
		}
		path := filepath.Join(s.Dir, name)
		bytes, err := diskspace.Taken(path)
		found = append(found, diskspace.Leftover{
			What: "unfinished template " + path, Bytes: bytes,
			Remove: func() (removed bool, err error) { return s.removeUnfinished(path) },
		})
		return err
	})
	if len(found) == 0 || err != nil {
		return nil, err
	}
	lock, err := filelock.TryAcquire(filepath.Join(s.Dir, lockFile))
	if lock == nil {
		return nil, err
	}
	return found, lock.Release()
}

// removeUnfinished removes a directory that nobody can finish any more: each maker
// makes one of its own, under the lock.
func (s *Shelf) removeUnfinished(path string) (removed bool, err error) {
	lock, err := filelock.TryAcquire(filepath.Join(s.Dir, lockFile))
	if lock == nil {
		return false, err
	}
	defer lock.Release()
	if isWhole(path) { // it was made anew
		return false, nil
	}
	return true, os.RemoveAll(path)
}

// Goldens lists the digests of the golden images that the templates need.
func (s *Shelf) Goldens() (digests []string, err error) {
	err = s.each(func(name string, whole bool) error {
		if !whole {
			return nil
		}
		digest, err := s.goldenOf(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			digests = append(digests, digest)
		}
		return err
	})
	return digests, err
}

// goldenOf is the digest of the golden image that a template was made from.
func (s *Shelf) goldenOf(name string) (digest string, err error) {
	var t Template
	text, err := statefile.Read(filepath.Join(s.Dir, name, templateFile), maxTemplate)
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil {
		return "", fmt.Errorf("reading template %s: %w", filepath.Join(s.Dir, name), err)
	}
	return t.Basis.Golden, nil
}

// each visits the directories of templates. One that is whole can be forked.
func (s *Shelf) each(visit func(name string, whole bool) error) error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listing templates: %w", err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := visit(entry.Name(), isWhole(filepath.Join(s.Dir, entry.Name()))); err != nil {
			return err
		}
	}
	return nil
}

func isWhole(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, templateFile))
	return err == nil && !strings.HasPrefix(filepath.Base(dir), making)
}
