package pool

import (
	"context"
	"errors"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
)

// Close ends growth, cancels the creations, tears every worker down, all at
// once, and closes the network. Suspended workers stay for the next process, also
// those that are being suspended when Close begins. When ctx ends first, it gives
// up: the directories that are left tell the next Open what to remove.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.stop(ErrClosing)
	defer p.giveUp()
	select {
	case <-p.idle():
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Errorf("closing pool %s, %d workers are left: %w", p.config.Name, p.count(), context.Cause(ctx))
	}
	p.history.tell(ledger.Event{Kind: ledger.Closed})
	if err := p.store.ClearBreaker(); err != nil {
		p.log.Warn("record is out of date", "err", err)
	}
	if err := errors.Join(p.golden.letGo(), p.network.Close(ctx)); err != nil {
		return fmt.Errorf("closing the network and the image of pool %s: %w", p.config.Name, err)
	}
	return nil
}

// idle is closed when the last goroutine of the pool has ended.
func (p *Pool) idle() <-chan struct{} {
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		p.running.Wait()
	}()
	return idle
}
