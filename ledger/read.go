package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// Bounds of what is read: how many events Next returns at once, and how many bytes of a
// file, which has no more unless others wrote it.
const (
	batch       = 4096
	mostOfAFile = 16 << 20
)

// Reader reads a ledger from its beginning on, and goes on where it was when more is
// written. What is in the files may be anybody's: a line that is no event is passed over,
// and so is what a writer has not finished.
type Reader struct {
	dir   string
	since time.Time
	at    int   // the number of the file that is read; 0 before the first
	done  int64 // how much of it is read
	// skipping says that a line is too long, and is passed over up to its end.
	skipping bool
}

// NewReader reads the events of a ledger since a time; the zero time is the beginning.
// The directory need not be there yet.
func NewReader(dir string, since time.Time) *Reader { return &Reader{dir: dir, since: since} }

// Next returns events that were not returned before, in the order in which they were
// written; none when there are no more for now.
func (r *Reader) Next() ([]Event, error) {
	for {
		// Listed before it is read: a file that has a successor is not written any more.
		all, err := segments(r.dir)
		if err != nil {
			return nil, fmt.Errorf("reading the ledger: %w", err)
		}
		next, more := r.following(all)
		events, ended, err := r.read()
		if err != nil {
			return nil, fmt.Errorf("reading the ledger: %w", err)
		}
		if ended && more {
			r.at, r.done, r.skipping = next, 0, false
		}
		if len(events) > 0 || ended && !more {
			return events, nil
		}
	}
}

// following is the file after the one that is read, if there is one that may hold
// something new.
func (r *Reader) following(all []segment) (number int, ok bool) {
	for _, s := range all {
		if s.number > r.at && !s.modified.Before(r.since) {
			return s.number, true
		}
	}
	return 0, false
}

// read returns events of the present file, and says whether all of it is read, as far as
// it is written.
func (r *Reader) read() (events []Event, ended bool, err error) {
	if r.at == 0 {
		return nil, true, nil
	}
	file, err := statefile.Open(segmentPath(r.dir, r.at), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, statefile.ErrForeign) {
		return nil, true, nil // removed as too old, or not the ledger's
	}
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	text := bufio.NewReaderSize(io.NewSectionReader(file, r.done, mostOfAFile-r.done), maxLine)
	for len(events) < batch {
		line, err := text.ReadSlice('\n')
		switch {
		case err == io.EOF && !r.skipping: // the rest of the line may be written yet
			return events, true, nil
		case err != nil && err != io.EOF && err != bufio.ErrBufferFull:
			return events, false, err
		}
		r.done += int64(len(line))
		event, bad := decode(line)
		if whole := err == nil && !r.skipping; whole && bad == nil && !event.At.Before(r.since) {
			events = append(events, event)
		}
		r.skipping = err != nil
		if err == io.EOF {
			return events, true, nil
		}
	}
	return events, false, nil
}

// Read yields the events since a time that are there now, in the order in which they
// were written. An error is the last thing that it yields.
func Read(dir string, since time.Time) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		NewReader(dir, since).all(yield)
	}
}

// Follow is Read that goes on with what is written from then on, until ctx ends.
func Follow(ctx context.Context, dir string, since time.Time) iter.Seq2[Event, error] {
	const pause = 200 * time.Millisecond
	return func(yield func(Event, error) bool) {
		for reader := NewReader(dir, since); reader.all(yield); {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
	}
}

// all yields what there is; false says that the caller wants no more.
func (r *Reader) all(yield func(Event, error) bool) bool {
	for {
		events, err := r.Next()
		if err != nil {
			yield(Event{}, err)
			return false
		}
		if len(events) == 0 {
			return true
		}
		for _, event := range events {
			if !yield(event, nil) {
				return false
			}
		}
	}
}
