package main

import (
	"context"
	"fmt"
	"sync"

	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"
)

// How many workers in a row, or calls of Update, may fail before try gives up. A
// runner would go on.
const (
	maxFailedWorkers = 3
	maxFailedUpdates = 10
)

// watched is an instance group that calls abandon when workers or calls fail
// again and again.
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
			w.abandon(fmt.Errorf("%d workers in a row failed before they were ready; the log above says why",
				w.failedWorkers))
		}
	}
}
