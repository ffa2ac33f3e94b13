package provider

import (
	"context"
	"fmt"
	"time"
)

// Shutdown reaps every worker and lets go of the pool. When ctx ends first, as
// it does with a runner that dies meanwhile, the work goes on, and Reap waits
// for its end; what is not done when the process ends, the next Init on the pool
// does. It may be called again, and before or beside Init: it does what there is
// to do then.
//
// It reaps in any case. Whether the runner was told to keep its instances does
// not reach us, and a worker asked for in its last moment gets no Decrease.
func (g *InstanceGroup) Shutdown(ctx context.Context) error {
	g.changing.Lock()
	defer g.changing.Unlock()
	return g.shutDown(ctx)
}

// Reap is Shutdown with a limit that begins once no Init is under way: a slow one
// takes nothing from the time that workers have to end.
func (g *InstanceGroup) Reap(limit time.Duration) error {
	g.changing.Lock()
	defer g.changing.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return g.shutDown(ctx)
}

// shutDown takes apart what Init put together, or waits on while that is under
// way. The outcome is told once. The caller holds changing.
func (g *InstanceGroup) shutDown(ctx context.Context) error {
	g.mu.Lock()
	o := g.opened
	g.opened, g.closed = nil, true
	g.mu.Unlock()
	if o != nil {
		closing := make(chan error, 1)
		g.closing = closing
		go func() { closing <- o.Close(context.WithoutCancel(ctx)) }()
	}
	if g.closing == nil {
		return nil
	}
	select {
	case err := <-g.closing:
		g.closing = nil
		return err
	case <-ctx.Done():
		return fmt.Errorf("the pool is still being closed: %w", context.Cause(ctx))
	}
}
