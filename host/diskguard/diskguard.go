// Package diskguard keeps some of a host's disk free: below its reserve, nothing is
// to begin that fills the disk, and what nobody uses is removed. It knows the order
// in which things go and when to stop; what they are, and whether somebody uses one,
// those who keep them know. Who waits meanwhile, and for how long, is the pool's
// business.
package diskguard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
)

// pause is how long after one look for what may be removed the next comes. Some file
// systems give back the room of what was removed only after a while.
const pause = 10 * time.Second

// The default of the reserve: a share of the file system, up to what an image of the
// default packages takes while it is built.
const (
	reserveDivisor = 20
	mostReserve    = 4 << 30
)

// List lists what may be removed of one kind, the least valuable first.
type List func() ([]diskspace.Leftover, error)

// Options say what is guarded.
type Options struct {
	// Dir is the state directory: the file system that it is on is guarded. While
	// things are removed there, one process of all holds the lock on the directory.
	Dir string
	// Reserve is how many bytes are to stay free; 0 is the default for this file
	// system.
	Reserve int64
	// Lists are what may be removed, the least valuable kind first.
	Lists []List
	Log   *slog.Logger
}

// Guard watches a file system. Its methods may be called concurrently.
type Guard struct {
	options Options
	// wanted is there when Run is to make room.
	wanted chan struct{}

	mu sync.Mutex
	// complaint is what the log said last that keeps the guard from making room.
	complaint string
}

// New returns a guard. It touches nothing.
func New(options Options) *Guard { return &Guard{options: options, wanted: make(chan struct{}, 1)} }

// Closed says why nothing that fills the disk may begin now; nothing says that it may.
// It is cheap, and has Run make room. Where nobody can tell how much is free, it is
// for those who write to find out.
func (g *Guard) Closed() (reason string) {
	missing, err := g.missing()
	if missing == nil || err != nil {
		return ""
	}
	select {
	case g.wanted <- struct{}{}:
	default: // it was told already
	}
	return missing.Error()
}

// Run makes room whenever Closed finds too little, until ctx ends, unless another
// process does so.
func (g *Guard) Run(ctx context.Context) {
	for {
		select {
		case <-g.wanted:
			lock, err := filelock.TryAcquireDirectory(g.options.Dir)
			if lock == nil {
				g.complain("nothing is removed to make room", err)
				break
			}
			g.makeRoom(ctx, lock)
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// Check makes room where there is too little, and waits for another process that does
// so. It returns a *Short when that was not enough.
func (g *Guard) Check(ctx context.Context) error {
	missing, err := g.missing()
	if missing == nil || err != nil {
		return err
	}
	lock, err := filelock.AcquireDirectory(ctx, g.options.Dir)
	if err != nil {
		return fmt.Errorf("%w: %w", missing, err)
	}
	g.makeRoom(ctx, lock)
	if missing, err = g.missing(); missing == nil || err != nil {
		return err
	}
	return missing
}

// Short is the error of a disk with less free than is to stay.
type Short struct {
	Dir string
	// Free and Reserve are in bytes.
	Free, Reserve int64
}

// Error says what mends it.
func (s *Short) Error() string {
	return fmt.Sprintf("only %s are free where %s is, and host.reserve_disk keeps %s: make room there",
		diskspace.Size(s.Free), s.Dir, diskspace.Size(s.Reserve))
}

// missing is nil when enough is free.
func (g *Guard) missing() (*Short, error) {
	room, err := diskspace.Of(g.options.Dir)
	if err != nil {
		return nil, err
	}
	reserve := g.options.Reserve
	if reserve == 0 {
		reserve = min(mostReserve, room.Size/reserveDivisor)
	}
	if room.Free >= reserve {
		return nil, nil
	}
	return &Short{g.options.Dir, room.Free, reserve}, nil
}

// makeRoom removes what may go, until enough would be free by the sizes of what went,
// and gives the lock back.
func (g *Guard) makeRoom(ctx context.Context, lock *filelock.Lock) {
	defer lock.Release()
	missing, err := g.missing()
	if missing == nil || err != nil { // the process before has made enough
		return
	}
	wanted := missing.Reserve - missing.Free
	var failed []error
	for _, list := range g.options.Lists {
		if wanted <= 0 {
			break
		}
		leftovers, err := list()
		failed = append(failed, err)
		for _, l := range leftovers {
			if wanted <= 0 || ctx.Err() != nil {
				break
			}
			removed, err := l.Remove()
			failed = append(failed, err)
			if removed && err == nil {
				wanted -= l.Bytes
				g.options.Log.Warn("removed to make room, since nobody uses it",
					"what", l.What, "size", diskspace.Size(l.Bytes))
			}
		}
	}
	g.complain("not all that may be removed to make room is known, or could be", errors.Join(failed...))
}

// complain logs what keeps the guard from making room, once as long as it is the same:
// it looks again every few seconds.
func (g *Guard) complain(message string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != g.complaint && err != nil {
		g.options.Log.Warn(message, "err", err)
	}
	g.complaint = text
}

// Freeable is about how many bytes could be freed by removing all that nobody uses
// now. It only looks.
func (g *Guard) Freeable() (bytes int64, err error) {
	for _, list := range g.options.Lists {
		leftovers, listErr := list()
		err = errors.Join(err, listErr)
		for _, l := range leftovers {
			bytes += l.Bytes
		}
	}
	return bytes, err
}
