package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// Grow promises n more workers, or as many as there is room for, and returns
// at once with how many it promised. Each of them shows in Workers from now
// on. An error means that it promised none: the runner would forget what
// comes beside an error.
func (p *Pool) Grow(n int) (int, error) {
	if n <= 0 {
		return 0, nil
	}
	room, err := p.claim(n)
	if err != nil {
		return 0, fmt.Errorf("growing pool %s by %d: %w", p.config.Name, n, err)
	}
	defer p.running.Done()
	ids, err := p.reserve(room)
	p.admit(ids, room)
	if len(ids) == 0 {
		return 0, fmt.Errorf("growing pool %s by %d: %w", p.config.Name, n, err)
	}
	if len(ids) < n {
		p.log.Warn("pool grows by less than it was asked for", "asked", n, "granted", len(ids), "max", p.config.Max, "err", err)
	}
	return len(ids), nil
}

// claim sets room aside for up to n workers, and keeps Close waiting until the
// caller is done.
func (p *Pool) claim(n int) (room int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return 0, ErrClosing
	}
	room = min(n, p.config.Max-p.count()-p.reserved)
	if room <= 0 {
		return 0, fmt.Errorf("%w: it has its %d workers", ErrFull, p.config.Max)
	}
	p.reserved += room
	p.running.Add(1)
	return room, nil
}

// count says how many workers there are, gone ones not counted. The caller
// holds the mutex.
func (p *Pool) count() int {
	n := 0
	for _, w := range p.workers {
		if w.state != Deleted {
			n++
		}
	}
	return n
}

// reserve writes the intent of n workers to disk before anything is made for
// them. When it fails half-way, it returns those that it reserved as well.
func (p *Pool) reserve(n int) ([]string, error) {
	ids := make([]string, 0, n)
	for range n {
		id, err := p.reserveOne()
		if err != nil {
			return ids, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (p *Pool) reserveOne() (string, error) {
	for {
		id := workerid.New(p.config.Name)
		_, err := p.store.Reserve(id)
		if !errors.Is(err, fs.ErrExist) {
			return id, err
		}
	}
}

// admit turns a claim for room workers into these, and lets them live.
func (p *Pool) admit(ids []string, room int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reserved -= room
	for _, id := range ids {
		ctx, end := context.WithCancelCause(p.growing)
		w := &worker{id: id, end: end, state: Creating, createdAt: time.Now()}
		p.workers[id] = w
		p.running.Go(func() { p.live(ctx, w) })
	}
}
