package store

import (
	"fmt"
	"path/filepath"
	"time"
)

// OpenedFile is in the directory of a pool that a plugin process has opened.
const OpenedFile = "opened.json"

// Opened is what the process that opened the pool last tells those who look from
// outside. It stays when the process ends.
type Opened struct {
	Version int `json:"version"`
	// Backend is the name of the one that makes the pool's workers.
	Backend string `json:"backend"`
	// MaxWorkers is how many there may be.
	MaxWorkers int       `json:"max_workers"`
	At         time.Time `json:"at"`
}

// SaveOpened keeps it for those who look from outside.
func (s *Store) SaveOpened(opened Opened) error {
	opened.Version = RecordVersion
	if err := writeDocument(filepath.Join(s.dir, OpenedFile), opened); err != nil {
		return fmt.Errorf("writing what opened the pool: %w", err)
	}
	return nil
}

// Opened is false when no process has told it.
func (s *Store) Opened() (opened Opened, known bool, err error) {
	if known, err = readDocument(filepath.Join(s.dir, OpenedFile), &opened, &opened.Version); err != nil {
		return Opened{}, false, fmt.Errorf("reading what opened the pool: %w", err)
	}
	return opened, known, nil
}
