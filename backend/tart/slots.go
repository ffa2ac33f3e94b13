package tart

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
)

// macGuests is how many macOS guests may run on one host: Apple's licence, kept
// by macOS itself. Linux guests do not count.
const macGuests = 2

// slotPoll is how often a start that waits looks for a free slot.
const slotPoll = 250 * time.Millisecond

// slot waits for one of the places that all pools of this host share. A place is
// a lock on a file: the kernel releases it when the process that holds it ends.
func (b *Backend) slot(ctx context.Context, kind string, places int) (release func(), err error) {
	dir := filepath.Join(b.options.StateDir, "tart-slots")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of the places for guests: %w", err)
	}
	for {
		for n := range places {
			lock, err := filelock.TryAcquire(filepath.Join(dir, fmt.Sprintf("%s-%d", kind, n)))
			if err != nil {
				return nil, err
			}
			if lock != nil {
				return func() { _ = lock.Release() }, nil // closing a file that was only locked
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a place among the %d guests of its kind that may run at once (%s); "+
				"keep host.max_workers at that: %w", places, kind, context.Cause(ctx))
		case <-time.After(slotPoll):
		}
	}
}

// slots takes every place that a machine of an image needs.
func (b *Backend) slots(ctx context.Context, system string, resumed string) (release func(), err error) {
	release = func() {}
	if system != macOS {
		return release, nil
	}
	if release, err = b.slot(ctx, "macos", macGuests); err != nil || resumed == "" {
		return release, err
	}
	// Clones of a suspended machine have its MAC. While one runs, Tart would give
	// the next another MAC, and discard its saved state.
	alone, err := b.slot(ctx, "suspended-"+resumed, 1)
	if err != nil {
		release()
		return nil, err
	}
	both := release
	return func() { alone(); both() }, nil
}
