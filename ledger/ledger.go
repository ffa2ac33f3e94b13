// Package ledger keeps what happened to each worker of a pool, with times, for some days
// after the worker is gone. The process that serves the pool writes it; whoever wants to
// know reads it, at the same time, from any process. What makes an event, and what is
// shown of it, is decided elsewhere.
//
// It is a directory of files of events, one JSON object a line, which are only ever
// appended to. Each event is one write of the kernel's, so that a process that is killed
// loses at most the one that it was about to write. Nothing is synced: a host that loses
// power loses the last seconds.
package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// Dir is the ledger's directory, below that of its pool.
const Dir = "ledger"

// limits bound what a ledger keeps.
type limits struct {
	// segment is how many bytes a file has at most, all is how many the ledger has.
	segment, all int64
	// age is how long an event is kept at least partly: the files older than that go.
	age time.Duration
}

// kept are the limits of every pool. A start takes two to three KiB.
var kept = limits{segment: 4 << 20, all: 64 << 20, age: 14 * 24 * time.Hour}

// Ledger is a pool's ledger, open for writing. Its methods may be called concurrently. The
// zero value is one that is closed.
type Ledger struct {
	dir    string
	limits limits

	mu    sync.Mutex // guards all below
	file  *os.File   // nil when it is closed
	at    int        // its number
	size  int64
	begun time.Time // when its first event may have been
	// torn says that the file does not end with a line's end.
	torn bool
	// lost is how many events were not written since the last one that was.
	lost int
}

// Open opens a ledger for its only writer, and makes its directory if it is not there. It
// mends what a writer that was killed has left.
func Open(dir string) (*Ledger, error) { return open(dir, kept) }

func open(dir string, limits limits) (*Ledger, error) {
	l := &Ledger{dir: dir, limits: limits}
	if err := l.openLast(); err != nil {
		return nil, fmt.Errorf("opening the ledger %s: %w", dir, err)
	}
	return l, nil
}

// openLast goes on in the last file that is there.
func (l *Ledger) openLast() error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return diskspace.Explain(filepath.Dir(l.dir), err)
	}
	if err := statefile.CheckDirectory(l.dir); err != nil {
		return err
	}
	all, err := segments(l.dir)
	if err != nil {
		return err
	}
	last := 1
	if len(all) > 0 {
		last = all[len(all)-1].number
	}
	if err := l.begin(last); err != nil {
		return err
	}
	return l.prune(time.Now())
}

// begin has events go to the file of a number from now on, or to the next one where
// something lies that is not ours.
func (l *Ledger) begin(number int) error {
	file, err := statefile.Open(segmentPath(l.dir, number), os.O_RDWR|os.O_CREATE|os.O_APPEND)
	if errors.Is(err, statefile.ErrForeign) {
		return l.begin(number + 1)
	}
	if err != nil {
		return diskspace.Explain(l.dir, err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	l.at, l.size, l.begun, l.torn = number, info.Size(), time.Now(), false
	if l.size > 0 {
		var last [1]byte
		if _, err := file.ReadAt(last[:], l.size-1); err != nil {
			return errors.Join(err, file.Close())
		}
		l.torn = last[0] != '\n'
		l.begun = info.ModTime()
	}
	former := l.file
	l.file = file
	if former != nil {
		return former.Close()
	}
	return nil
}

// Write appends an event, which happens now unless it says when. An event that cannot be
// written is lost, and the next one that can says so.
func (l *Ledger) Write(e Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.At.IsZero() {
		e.At = time.Now()
	}
	e.Lost = l.lost
	if err := l.write(e); err != nil {
		l.lost++
		return fmt.Errorf("writing to the ledger %s: %w", l.dir, err)
	}
	l.lost = 0
	return nil
}

func (l *Ledger) write(e Event) error {
	if l.file == nil {
		return os.ErrClosed
	}
	line, err := encode(e)
	if err != nil {
		return fmt.Errorf("event %q of %q: %w", e.Kind, e.Worker, err)
	}
	if l.torn { // what is left of another event is then a line of its own
		line = append([]byte{'\n'}, line...)
	}
	if err := l.makeRoom(int64(len(line)), time.Now()); err != nil {
		return err
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	if n > 0 {
		l.torn = line[n-1] != '\n'
	}
	return diskspace.Explain(l.dir, err)
}

// makeRoom begins another file where the present one is full, or of another day, so that
// old events can go.
func (l *Ledger) makeRoom(more int64, now time.Time) error {
	const day = 24 * time.Hour
	if l.size == 0 || l.size+more <= l.limits.segment && l.begun.UTC().Truncate(day).Equal(now.UTC().Truncate(day)) {
		return nil
	}
	if err := l.begin(l.at + 1); err != nil {
		return err
	}
	return l.prune(now)
}

// prune removes the oldest files, but never the one that is written.
func (l *Ledger) prune(now time.Time) error {
	all, err := segments(l.dir)
	if err != nil {
		return err
	}
	room := l.limits.all - l.limits.segment
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].number == l.at {
			continue
		}
		room -= all[i].size
		if room >= 0 && now.Sub(all[i].modified) <= l.limits.age {
			continue
		}
		if err := os.Remove(segmentPath(l.dir, all[i].number)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Close ends the writing.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	file := l.file
	l.file = nil
	return file.Close()
}
