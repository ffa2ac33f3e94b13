package budget

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// queue is a directory with a file for each worker that waits: a ticket. Its name
// is a number and the worker's id, and the order of the names is that in which the
// workers came. Each is locked by the process that waits, so that the ticket of a
// dead process keeps nobody waiting. Tickets are drawn, and those of the dead
// removed, with the budget's lock held; everything else needs no lock.
type queue struct{ dir string }

// ticket is a place in the queue.
type ticket struct {
	queue queue
	name  string
	lock  *filelock.Lock
	// predecessor is the name of the ticket before, when there is one.
	predecessor string
}

// digits of a ticket's number: the order of names is that of numbers.
const digits = 19

// draw takes the next ticket.
func (q queue) draw(ctx context.Context, id string) (*ticket, error) {
	names, err := q.names()
	if err != nil {
		return nil, err
	}
	last := 0
	if len(names) > 0 {
		last, _ = ticketNumber(names[len(names)-1])
	}
	t := &ticket{queue: q, name: fmt.Sprintf("%0*d-%s", digits, last+1, id)}
	if t.lock, err = filelock.Acquire(ctx, q.path(t.name)); err != nil {
		return nil, errors.Join(err, os.Remove(q.path(t.name)))
	}
	return t, nil
}

// before is the name of the last ticket before this one, or of the last of all
// for somebody who has none; nothing says that there is none. Tickets of dead
// processes are removed on the way.
func (q queue) before(t *ticket) (string, error) {
	names, err := q.names()
	if err != nil {
		return "", err
	}
	last := ""
	for _, name := range names {
		if t != nil && name >= t.name {
			break
		}
		if q.waits(name) {
			last = name
			continue
		}
		if err := os.Remove(q.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("removing the place of a dead process in the queue: %w", err)
		}
	}
	return last, nil
}

// alive tells whether anybody waits.
func (q queue) alive() bool {
	names, err := q.names()
	if err != nil {
		return false
	}
	for _, name := range names {
		if q.waits(name) {
			return true
		}
	}
	return false
}

// ticketNumber reads the number of a ticket; false says that none has such a name.
func ticketNumber(name string) (number int, ok bool) {
	text, id, _ := strings.Cut(name, "-")
	number, err := strconv.Atoi(text)
	return number, err == nil && number > 0 && len(text) == digits && workerid.Valid(id)
}

// names lists all tickets, the first one first. What is none keeps nobody waiting, and
// is left alone.
func (q queue) names() ([]string, error) {
	entries, err := os.ReadDir(q.dir) // in the order of names
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the queue for the host: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if _, ok := ticketNumber(entry.Name()); ok && entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// waits tells whether a ticket is there and its process is alive. A process that
// looks at the ticket of a dead one at the same moment holds its lock too: then it
// counts once more.
func (q queue) waits(name string) bool {
	file, err := statefile.Open(q.path(name), os.O_RDONLY)
	if err != nil {
		return false
	}
	defer file.Close()
	free, err := filelock.Try(file)
	return err == nil && !free
}

func (q queue) path(name string) string { return filepath.Join(q.dir, name) }

// wait returns when it is worth another try: at once when the one before is gone,
// and for the first in the queue after a moment.
func (t *ticket) wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(poll):
		}
		if t.predecessor == "" || !t.queue.waits(t.predecessor) {
			return nil
		}
	}
}

// giveUp leaves the queue. It is for no ticket too.
func (t *ticket) giveUp() {
	if t == nil {
		return
	}
	os.Remove(t.queue.path(t.name)) // what stays is found without its lock, and removed
	t.lock.Release()
}
