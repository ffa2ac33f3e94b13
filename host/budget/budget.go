// Package budget is the book of what a host gives away to workers: memory,
// processors and disk, over all pools of a state directory. It lies in a directory
// that all plugin processes of the host share: a file for each worker that holds
// something (book.go), and one for each worker that waits for its turn
// (queue.go). Who fits is decided by rules without effects (rules.go); gates, such
// as the kernel's word on memory pressure (pressure.go), hold back all who would
// fit. What a worker costs, and what happens to it when it waited too long, is the
// pool's business.
package budget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// poll is how often a worker that waits looks again. The first in the queue reads
// the whole book then, each other one only asks whether the one before it is gone.
const poll = 50 * time.Millisecond

// patience bounds the wait for the lock where the caller's context does not. A
// holder needs milliseconds, more on a busy disk.
const patience = time.Minute

// Options say whose budget it is, and how large.
type Options struct {
	// Dir is the directory of the book; it is made when something is written.
	Dir string
	// Pool is the pool whose workers this process makes.
	Pool string
	// Limits are what the host gives away to workers of all pools.
	Limits Limits
	// Gates hold back every start while they are closed.
	Gates []Gate
}

// Gate is a condition of the host under which nothing starts, whatever fits.
type Gate struct {
	// Name tells one gate from another.
	Name string
	// Closed says why nothing may start now; nothing says that it may. It is cheap,
	// and asked several times a second while workers wait.
	Closed func() (reason string)
}

// Budget is the book, as one plugin process sees it. It keeps nothing in memory:
// all is in the directory, and changes are made under a lock there that the
// kernel releases when its holder dies. Nothing is synced: what a power cut takes
// from the book, it took from the host too.
type Budget struct {
	options Options
	book    book
	queue   queue
}

var _ pool.Budget = (*Budget)(nil)

// New returns the budget in a directory. It touches nothing.
func New(options Options) *Budget {
	return &Budget{
		options: options,
		book:    book{filepath.Join(options.Dir, "held")},
		queue:   queue{filepath.Join(options.Dir, "queue")},
	}
}

// Reserve waits until the cost fits, first come, first served.
func (b *Budget) Reserve(ctx context.Context, id string, cost pool.Cost, waits func(reason string)) error {
	if err := b.options.Limits.Never(cost); err != nil {
		return fmt.Errorf("reserving what %s takes of the host: %w", id, err)
	}
	var mine *ticket
	defer func() { mine.giveUp() }()
	for told := ""; ; {
		lack, err := b.try(ctx, id, cost, &mine)
		if err != nil {
			return fmt.Errorf("reserving what %s takes of the host: %w", id, err)
		}
		if lack.kind == "" {
			return nil
		}
		if lack.kind != told {
			told = lack.kind
			waits(lack.reason)
		}
		if err := mine.wait(ctx); err != nil {
			return fmt.Errorf("%w: %s", err, lack.reason)
		}
	}
}

// try holds the cost for the worker when it is its turn and it fits. Otherwise it
// says what is lacking, and the worker has a ticket from then on.
func (b *Budget) try(ctx context.Context, id string, cost pool.Cost, mine **ticket) (lack, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return lack{}, err
	}
	defer unlock()
	held, err := b.book.read()
	if err != nil {
		return lack{}, err
	}
	before, err := b.queue.before(*mine)
	if err != nil {
		return lack{}, err
	}
	missing := b.options.lacks(held, id, cost)
	if before != "" && missing.kind != covered {
		missing = behind(missing)
	}
	switch {
	case missing.kind == covered, missing.kind == "":
		return lack{}, b.book.write(held, id, cost)
	case *mine == nil:
		if *mine, err = b.queue.draw(ctx, id); err != nil {
			return lack{}, err
		}
	}
	(*mine).predecessor = before
	return missing, nil
}

// ReserveSpare holds the cost for a spare, when it fits and nobody waits.
func (b *Budget) ReserveSpare(ctx context.Context, id string, cost pool.Cost) (fits bool, err error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	held, err := b.book.read()
	if err != nil {
		return false, err
	}
	if b.Waiting() || b.options.lacks(held, id, cost).kind != "" {
		return false, nil
	}
	return true, b.book.write(held, id, cost)
}

// Raise has workers hold at least so much memory.
func (b *Budget) Raise(ctx context.Context, memory map[string]int64) error {
	// Most of the time none has grown, which is seen without the lock.
	held, err := b.book.read()
	if err != nil || len(grown(held, memory)) == 0 {
		return err
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if held, err = b.book.read(); err != nil {
		return err
	}
	var errs []error
	for id, cost := range grown(held, memory) {
		errs = append(errs, b.book.write(held, id, cost))
	}
	return errors.Join(errs...)
}

// Lower has a worker that holds anything hold the cost in place of it.
func (b *Budget) Lower(ctx context.Context, id string, cost pool.Cost) error {
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	held, err := b.book.read()
	if err != nil {
		return err
	}
	now, holds := held[id]
	if lower := now.lowered(cost); holds && lower != now.Cost {
		return b.book.write(held, id, lower)
	}
	return nil
}

// Closed says why nothing may start now, whatever fits.
func (b *Budget) Closed() (reason string) { return b.options.closed().reason }

// Waiting tells whether a worker of any pool waits.
func (b *Budget) Waiting() bool { return b.queue.alive() }

// Release gives back what a worker holds, and removes what its process left in
// the queue.
func (b *Budget) Release(ctx context.Context, id string) error {
	if _, err := os.Stat(b.book.dir); os.IsNotExist(err) { // nor does it take room, which there may not be
		return nil
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := b.queue.before(nil); err != nil {
		return err
	}
	held, err := b.book.read()
	if err != nil {
		return err
	}
	return b.book.remove(held, id)
}

// Find lists the workers of the pool that hold anything.
func (b *Budget) Find() ([]string, error) {
	held, err := b.book.read()
	if err != nil {
		return nil, err
	}
	return ofPool(held, b.options.Pool), nil
}

// Pools lists the pools whose workers hold anything.
func (b *Budget) Pools() ([]string, error) {
	held, err := b.book.read()
	return poolsOf(held), err
}

// Limits are what the host gives away.
func (b *Budget) Limits() Limits { return b.options.Limits }

// Held is what workers of all pools hold, by their ids.
func (b *Budget) Held() (map[string]pool.Cost, error) {
	pages, err := b.book.read()
	held := make(map[string]pool.Cost, len(pages))
	for id, page := range pages {
		held[id] = page.Cost
	}
	return held, err
}

func (b *Budget) lock(ctx context.Context) (unlock func(), err error) {
	for _, dir := range []string{b.book.dir, b.queue.dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the budget's directory: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lock, err := filelock.Acquire(ctx, filepath.Join(b.options.Dir, "lock"))
	if err != nil {
		return nil, err
	}
	return func() { lock.Release() }, nil
}
