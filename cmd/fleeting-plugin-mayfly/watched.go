package main

import (
	"context"
	"fmt"
	"sync"

	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"
)

// A runner tries for ever. A person who tries the plugin out wants to know
// after so many workers in a row that failed, or calls that did.
const (
	maxFailedWorkers = 3
	maxFailedUpdates = 10
)

// watched is an instance group that gives up when nothing comes of it.
type watched struct {
	fleetingprovider.InstanceGroup
	abandon context.CancelCauseFunc

	mu            sync.Mutex
	coming        map[string]bool // seen, not running yet
	failedWorkers int
	failedUpdates int
}

func newWatched(group fleetingprovider.InstanceGroup, abandon context.CancelCauseFunc) *watched {
	return &watched{InstanceGroup: group, abandon: abandon, coming: make(map[string]bool)}
}

// Update looks at each state that it passes on.
func (w *watched) Update(ctx context.Context, tell func(id string, state fleetingprovider.State)) error {
	err := w.InstanceGroup.Update(ctx, func(id string, state fleetingprovider.State) {
		w.see(id, state)
		tell(id, state)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.failedUpdates = 0
		return nil
	}
	if w.failedUpdates++; w.failedUpdates >= maxFailedUpdates {
		w.abandon(fmt.Errorf("the plugin does not answer: %w", err))
	}
	return err
}

// Decrease forgets the workers, which go because they were told to.
func (w *watched) Decrease(ctx context.Context, ids []string) ([]string, error) {
	w.mu.Lock()
	for _, id := range ids {
		delete(w.coming, id)
	}
	w.mu.Unlock()
	return w.InstanceGroup.Decrease(ctx, ids)
}

func (w *watched) see(id string, state fleetingprovider.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch state {
	case fleetingprovider.StateCreating:
		w.coming[id] = true
	case fleetingprovider.StateRunning:
		delete(w.coming, id)
		w.failedWorkers = 0
	default:
		if !w.coming[id] {
			return
		}
		delete(w.coming, id)
		if w.failedWorkers++; w.failedWorkers >= maxFailedWorkers {
			w.abandon(fmt.Errorf("%d workers in a row failed before they were ready; the log above says why", w.failedWorkers))
		}
	}
}
