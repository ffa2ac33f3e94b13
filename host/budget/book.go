package budget

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// book is a directory with a file for each worker that holds something, named by
// its id. Whoever writes holds the budget's lock.
type book struct{ dir string }

// read returns what each worker holds. A file that cannot be understood, such as
// one that a power cut emptied, holds nothing, but its worker is in the result:
// teardown gives it back like any other.
func (b book) read() (map[string]pool.Cost, error) {
	entries, err := os.ReadDir(b.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing what workers hold of the host: %w", err)
	}
	held := make(map[string]pool.Cost, len(entries))
	for _, entry := range entries {
		id := entry.Name()
		if !workerid.Valid(id) {
			continue // the beginning of a file that was never finished
		}
		text, err := os.ReadFile(filepath.Join(b.dir, id))
		if errors.Is(err, fs.ErrNotExist) { // the reader has no lock
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading what %s holds of the host: %w", id, err)
		}
		held[id] = parseCost(text)
	}
	return held, nil
}

// parseCost reads a file of the book. Nobody holds less than nothing.
func parseCost(text []byte) pool.Cost {
	var cost pool.Cost
	if err := json.Unmarshal(text, &cost); err != nil || cost.Memory < 0 || cost.CPUs < 0 || cost.Disk < 0 {
		return pool.Cost{}
	}
	return cost
}

// write replaces the whole file at once, for those who read without the lock and
// for a process that is killed meanwhile.
func (b book) write(id string, cost pool.Cost) error {
	if !workerid.Valid(id) {
		return fmt.Errorf("%q is not a valid worker id", id)
	}
	text, err := json.Marshal(cost)
	if err != nil {
		return fmt.Errorf("encoding what %s holds of the host: %w", id, err)
	}
	if err := os.WriteFile(b.unfinished(id), text, 0o600); err != nil {
		return fmt.Errorf("writing what %s holds of the host: %w", id, errors.Join(err, os.Remove(b.unfinished(id))))
	}
	if err := os.Rename(b.unfinished(id), filepath.Join(b.dir, id)); err != nil {
		return fmt.Errorf("writing what %s holds of the host: %w", id, err)
	}
	return nil
}

func (b book) remove(id string) error {
	for _, path := range []string{filepath.Join(b.dir, id), b.unfinished(id)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("giving back what %s holds of the host: %w", id, err)
		}
	}
	return nil
}

func (b book) unfinished(id string) string { return filepath.Join(b.dir, "."+id) }

// ofPool are the ids of one pool, in order.
func ofPool(held map[string]pool.Cost, name string) []string {
	ids := slices.Sorted(maps.Keys(held))
	return slices.DeleteFunc(ids, func(id string) bool {
		_, ok := workerid.Key(name, id)
		return !ok
	})
}
