package budget

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// book is a directory with an empty file for each worker that holds something.
// Its name is all that there is: ID,MEMORY,CPUS,DISK, in bytes where it is a size.
// So the book is read by listing the directory, however many workers there are, and
// a change is a rename, which nobody finds half done. Whoever writes holds the
// budget's lock.
type book struct{ dir string }

// page is what the book says of one worker.
type page struct {
	pool.Cost
	name string
}

// read returns what each worker holds. A name that nobody wrote, but that begins with
// the id of a worker, holds nothing, and is given back like any other. What is no file
// is none of ours.
func (b book) read() (map[string]page, error) {
	entries, err := os.ReadDir(b.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing what workers hold of the host: %w", err)
	}
	held := make(map[string]page, len(entries))
	for _, entry := range entries {
		if id, cost, ok := parseName(entry.Name()); ok && entry.Type().IsRegular() {
			held[id] = page{cost, entry.Name()}
		}
	}
	return held, nil
}

func (b book) write(held map[string]page, id string, cost pool.Cost) error {
	if !workerid.Valid(id) {
		return fmt.Errorf("%q is not a valid worker id", id)
	}
	name := filepath.Join(b.dir, formatName(id, cost))
	var err error
	if before, ok := held[id]; ok {
		err = os.Rename(filepath.Join(b.dir, before.name), name)
	} else {
		err = os.WriteFile(name, nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing what %s holds of the host: %w", id, diskspace.Explain(b.dir, err))
	}
	return nil
}

func (b book) remove(held map[string]page, id string) error {
	page, ok := held[id]
	if !ok {
		return nil
	}
	if err := os.Remove(filepath.Join(b.dir, page.name)); err != nil {
		return fmt.Errorf("giving back what %s holds of the host: %w", id, err)
	}
	return nil
}

func formatName(id string, cost pool.Cost) string {
	return fmt.Sprintf("%s,%d,%d,%d", id, cost.Memory, cost.CPUs, cost.Disk)
}

// parseName reads a name in the book; false says that no worker has it. Nobody holds
// less than nothing.
func parseName(name string) (id string, cost pool.Cost, ok bool) {
	fields := strings.Split(name, ",")
	if !workerid.Valid(fields[0]) {
		return "", pool.Cost{}, false
	}
	var numbers [3]int64
	for i := range numbers {
		if len(fields) != 1+len(numbers) {
			break
		}
		n, err := strconv.ParseInt(fields[1+i], 10, 64)
		if err != nil || n < 0 {
			return fields[0], pool.Cost{}, true
		}
		numbers[i] = n
	}
	return fields[0], pool.Cost{Memory: numbers[0], CPUs: int(numbers[1]), Disk: numbers[2]}, true
}

// ofPool are the ids of one pool, in order.
func ofPool(held map[string]page, name string) []string {
	ids := slices.Sorted(maps.Keys(held))
	return slices.DeleteFunc(ids, func(id string) bool {
		_, ok := workerid.Key(name, id)
		return !ok
	})
}

// poolsOf are the names of all pools.
func poolsOf(held map[string]page) []string {
	var names []string
	for id := range held {
		names = append(names, id[:len(id)-len("-")-workerid.KeyLength])
	}
	slices.Sort(names)
	return slices.Compact(names)
}
