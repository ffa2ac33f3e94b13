package pool

import (
	"context"
	"time"
)

// backoff says how long to wait after each failure in a row: first, then
// twice as long each time, up to limit.
type backoff struct {
	first, limit time.Duration
	next         time.Duration
}

// grow returns the time to wait after one more failure.
func (b *backoff) grow() time.Duration {
	wait := max(b.next, b.first)
	b.next = min(2*wait, b.limit)
	return wait
}

// reset forgets the failures.
func (b *backoff) reset() { b.next = 0 }

// sleep waits, and says why it stopped early when ctx ended first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
