package pool

import (
	"context"
	"fmt"
	"slices"
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
	granted, err := p.admit(n)
	if err != nil {
		return 0, fmt.Errorf("growing pool %s by %d: %w", p.config.Name, n, err)
	}
	if granted < n {
		p.log.Warn("pool grows by less than it was asked for", "asked", n, "granted", granted, "max", p.config.Max)
	}
	return granted, nil
}

// admit starts the lives of up to n workers. Nothing here touches the disk, since
// the runner's only goroutine would wait for it.
func (p *Pool) admit(n int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return 0, ErrClosing
	}
	room := min(n, p.config.Max-p.count())
	if room <= 0 {
		return 0, fmt.Errorf("%w: it has its %d workers", ErrFull, p.config.Max)
	}
	defer p.restock()
	for range room {
		ctx, w := p.newWorkerToGrow()
		p.running.Go(func() { p.live(ctx, w, p.create) })
	}
	return room, nil
}

// newWorkerToGrow is the oldest spare of the image that is served, if there is one.
// While the image is spared a worker is to hold nothing. The caller holds the mutex.
func (p *Pool) newWorkerToGrow() (context.Context, *worker) {
	oldest := slices.IndexFunc(p.spares, func(s spare) bool { return !p.isStale(s) })
	if oldest < 0 || p.starts.spares() {
		return p.newWorker(p.newID(), Creating, time.Now())
	}
	taken := p.spares[oldest]
	p.spares = slices.Delete(p.spares, oldest, oldest+1)
	ctx, w := p.newWorker(taken.id, Creating, time.Now())
	w.spare = &taken
	return ctx, w
}

// newID is one that no worker has. The caller holds the mutex.
func (p *Pool) newID() string {
	for {
		id := workerid.New(p.config.Name)
		if _, taken := p.workers[id]; !taken {
			return id
		}
	}
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
