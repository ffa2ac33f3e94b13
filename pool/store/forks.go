package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// ForksFile holds what past forks of the pool took, below the pool's directory.
const ForksFile = "forks.json"

// Forks is what is remembered of the memory that forks took. It is of one image, of
// whatever edition, and one size: with another, it says nothing.
type Forks struct {
	ImageDigest string `json:"image_digest"`
	CPUs        int    `json:"cpus"`
	Memory      int64  `json:"memory"`
	// Peaks are the most that each of the last forks was seen to take for itself, in
	// bytes, the oldest first.
	Peaks []int64 `json:"peaks"`
}

// SaveForks replaces what is remembered. A crash leaves the old or the new, never half
// of either.
func (s *Store) SaveForks(forks Forks) error {
	if err := writeDocument(filepath.Join(s.dir, ForksFile), forks); err != nil {
		return fmt.Errorf("remembering the memory of forks: %w", err)
	}
	return nil
}

// LoadForks reads what is remembered. The error wraps fs.ErrNotExist when that is
// nothing.
func (s *Store) LoadForks() (Forks, error) {
	text, err := statefile.Read(filepath.Join(s.dir, ForksFile), maxRecord)
	var forks Forks
	if err == nil {
		err = json.Unmarshal(text, &forks)
	}
	if err == nil && len(forks.Peaks) > 0 && slices.Min(forks.Peaks) < 0 {
		err = errors.New("it says that a fork took less than nothing")
	}
	if err != nil {
		return Forks{}, fmt.Errorf("reading the memory of past forks: %w", err)
	}
	return forks, nil
}
