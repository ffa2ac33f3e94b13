package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

const (
	// EndedDir holds what is kept of workers that ended unasked, below the pool's
	// directory: ID.json and ID.console.
	EndedDir = "ended"
	// EndedKept is of how many workers it is kept; the oldest go first.
	EndedKept = 10
	// consoleKept bounds, in bytes, how much of the end of a console is kept.
	consoleKept = 256 << 10

	endedSuffix   = ".json"
	consoleSuffix = ".console"
)

// Ended is what is kept of a worker that ended although nobody had asked for that.
// It holds no key.
type Ended struct {
	Version     int       `json:"version"`
	ID          string    `json:"id"`
	Reason      string    `json:"reason"`
	How         string    `json:"how,omitempty"`
	ImageDigest string    `json:"image_digest,omitempty"`
	CreatedAt   time.Time `json:"created_at,omitzero"`
	ReadyAt     time.Time `json:"ready_at,omitzero"` // zero if it never was
	EndedAt     time.Time `json:"ended_at"`
	// Console is the path of a file with the end of its console, made fit to be
	// printed; empty when it had none. It is not in the file.
	Console string `json:"-"`
}

// KeepEnd keeps how a worker ended, with the end of its console, which is read from
// a path unless that is empty. What is kept of the oldest goes. When it fails, nothing of
// this one is kept.
func (s *Store) KeepEnd(ended Ended, console string) error {
	if err := checkID(ended.ID); err != nil {
		return err
	}
	s.ending.Lock()
	defer s.ending.Unlock()
	dir := filepath.Join(s.dir, EndedDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keeping the end of worker %s: %w", ended.ID, diskspace.Explain(s.dir, err))
	}
	path := filepath.Join(dir, ended.ID)
	err := keepConsole(console, path+consoleSuffix)
	if err == nil {
		ended.Version = RecordVersion
		err = writeDocument(path+endedSuffix, ended)
	}
	if err != nil {
		err = errors.Join(err, os.RemoveAll(path+consoleSuffix), os.RemoveAll(path+endedSuffix))
		return fmt.Errorf("keeping the end of worker %s: %w", ended.ID, err)
	}
	return s.forgetOldest()
}

// keepConsole writes the end of a console without what a guest might do to the
// terminal of whoever reads it.
func keepConsole(from, to string) error {
	if from == "" {
		return nil
	}
	said, err := lines.End(from, consoleKept)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || len(said) == 0 {
		return err
	}
	err = os.WriteFile(to, []byte(strings.Join(said, "\n")+"\n"), 0o600)
	return diskspace.Explain(filepath.Dir(to), err)
}

// forgetOldest removes all that is there of workers, but for the last ones of which
// everything can be read.
func (s *Store) forgetOldest() error {
	all, err := s.Ended()
	if err != nil {
		return err
	}
	kept := make(map[string]bool)
	for _, ended := range all[max(0, len(all)-EndedKept):] {
		kept[ended.ID] = true
	}
	dir := filepath.Join(s.dir, EndedDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing the workers that ended: %w", err)
	}
	for _, entry := range entries {
		id := strings.TrimSuffix(strings.TrimSuffix(entry.Name(), endedSuffix), consoleSuffix)
		if id == entry.Name() || !workerid.Valid(id) || kept[id] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("forgetting the end of worker %s: %w", id, err)
		}
	}
	return nil
}

// Ended lists what is kept of workers that ended unasked, the last one last. What
// cannot be read is passed over: it says nothing to anybody.
func (s *Store) Ended() ([]Ended, error) {
	dir := filepath.Join(s.dir, EndedDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the workers that ended: %w", err)
	}
	var all []Ended
	for _, entry := range entries {
		id, ok := strings.CutSuffix(entry.Name(), endedSuffix)
		if !ok {
			continue
		}
		var ended Ended
		text, err := statefile.Read(filepath.Join(dir, entry.Name()), maxRecord)
		if err != nil || json.Unmarshal(text, &ended) != nil || ended.ID != id || ended.Version != RecordVersion {
			continue
		}
		if console := filepath.Join(dir, id+consoleSuffix); exists(console) {
			ended.Console = console
		}
		all = append(all, ended)
	}
	slices.SortFunc(all, func(a, b Ended) int {
		return cmp.Or(a.EndedAt.Compare(b.EndedAt), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
