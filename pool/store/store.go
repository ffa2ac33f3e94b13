// Package store keeps what a pool has on disk: one directory for each worker,
// the worker's record in it, and the lock that keeps a second plugin process
// out. What the records mean, and when a worker is given up, is the pool's
// business; what else lies in a worker's directory is its backend's.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// Names of files below the pool's directory.
const (
	// WorkersDir holds a directory for each worker, named by its id.
	WorkersDir = "workers"
	// RecordFile is the worker's record, in its own directory.
	RecordFile = "worker.json"
	// LockFile is locked by the process that owns the pool, and holds its pid.
	LockFile = "lock"
)

// Store is a pool's directory. Its methods may be called concurrently, each
// for a worker of its own.
type Store struct {
	dir string
	// looking says that nothing is to be made here.
	looking bool
	// ending is held while the end of a worker is kept: what of it is there by then
	// does not look whole to others.
	ending sync.Mutex
}

// Open makes the pool's directory if it is not there. It takes no lock;
// whoever changes anything calls Lock first.
func Open(dir string) (*Store, error) {
	s, err := Look(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(s.dir, WorkersDir), 0o700); err != nil {
		return nil, fmt.Errorf("making the pool directory: %w", diskspace.Explain(s.dir, err))
	}
	s.looking = false
	return s, nil
}

// Look is Open for those who only want to know: the directory need not be
// there, and is not made.
func Look(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("finding the pool directory: %w", err)
	}
	return &Store{dir: dir, looking: true}, nil
}

// Dir is the absolute path of a worker's directory, whether or not it exists.
func (s *Store) Dir(id string) string {
	return filepath.Join(s.dir, WorkersDir, id)
}

// Reserve makes the directory of a new worker, which must not be there yet.
// The bare directory is the intent: everything else of a worker is named after
// its id, so the name alone is enough to find and remove it after a crash.
// That makes it cheap; nothing is synced.
func (s *Store) Reserve(id string) (string, error) {
	if err := checkID(id); err != nil {
		return "", err
	}
	dir := s.Dir(id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("reserving worker %s: %w", id, diskspace.Explain(filepath.Dir(dir), err))
	}
	return dir, nil
}

// List returns the ids of all workers that have a directory, in order, whether
// or not they have a record that can be read. What has another name than a
// worker's is none of the pool's, such as the lost+found of a file system.
func (s *Store) List() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, WorkersDir))
	if s.looking && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the workers of the pool: %w", err)
	}
	var ids []string
	for _, entry := range entries {
		if entry.IsDir() && workerid.Valid(entry.Name()) {
			ids = append(ids, entry.Name())
		}
	}
	return ids, nil
}

// Remove removes a worker's directory with all that is in it. It is
// idempotent: a directory that does not exist is no error.
func (s *Store) Remove(id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	if err := os.RemoveAll(s.Dir(id)); err != nil {
		return fmt.Errorf("removing the directory of worker %s: %w", id, err)
	}
	return nil
}

// checkID refuses an id that is not one plain name, so that no id, wherever it
// came from, leads out of the directory of workers.
func checkID(id string) error {
	if id == "." || !filepath.IsLocal(id) || filepath.Base(id) != id {
		return fmt.Errorf("%q is not a valid worker id", id)
	}
	return nil
}
