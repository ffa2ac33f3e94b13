package runner

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"gitlab.com/gitlab-org/fleeting/fleeting/provider"
	"gitlab.com/gitlab-org/fleeting/taskscaler"
)

// Load is what a runner does that keeps idle workers ready and has jobs all the time.
type Load struct {
	// Idle is its idle_count, and Busy how many jobs it has at once.
	Idle, Busy int
	// Script is what each job runs.
	Script string
	// Done is told of each job that succeeded, while its worker is there, and says
	// whether there are to be no more. Calls come one at a time.
	Done func(Task) (last bool)
}

// Carried is how a plugin carried a load.
type Carried struct {
	Jobs int
	// Least is how few workers ran at once that the runner had not given back, from the
	// moment on that there were as many as were to be idle.
	Least int
	// Unasked are workers that were going before the runner had given them back.
	Unasked []string
}

// Run gives jobs to a plugin that is not initialised, by the runner's own scaling loop,
// until Done says so, and ends all workers. A job gives its worker back when as many
// others are ready as are to be idle: then nothing but the plugin can make them fewer. A
// job that fails ends it.
func (l Load) Run(ctx context.Context, group provider.InstanceGroup) (Carried, error) {
	seen := &watched{InstanceGroup: group, idle: l.Idle, given: make(map[string]bool)}
	scaler, err := taskscaler.New(ctx, seen,
		taskscaler.WithLogger(hclog.NewNullLogger()),
		taskscaler.WithMaxInstances(l.Idle+2*l.Busy),
		taskscaler.WithCapacityPerInstance(1),
		taskscaler.WithMaxUseCount(1),
		taskscaler.WithAcquireDelay(50*time.Millisecond),
		taskscaler.WithUpdateInterval(100*time.Millisecond),
		taskscaler.WithUpdateIntervalWhenExpecting(50*time.Millisecond),
		taskscaler.WithShutdownDeletionInterval(50*time.Millisecond),
		taskscaler.WithDeleteInstancesOnShutdown(),
	)
	if err != nil {
		return Carried{}, err
	}
	if err := scaler.ConfigureSchedule(taskscaler.Schedule{IdleCount: l.Idle, IdleTime: time.Hour}); err != nil {
		return Carried{}, err
	}
	ended, end := context.WithCancelCause(ctx)
	defer end(nil)
	var running sync.WaitGroup
	var telling sync.Mutex
	var jobs atomic.Int64
	for n := range l.Busy {
		running.Go(func() {
			for turn := 0; ended.Err() == nil; turn++ {
				err := l.job(ended, scaler, fmt.Sprintf("job-%d-%d", n, turn), func(task Task) {
					telling.Lock()
					defer telling.Unlock()
					jobs.Add(1)
					if ended.Err() == nil && l.Done(task) {
						end(nil)
					}
				})
				if err != nil && ended.Err() == nil {
					end(err)
				}
			}
		})
	}
	running.Wait()
	if cause := context.Cause(ended); cause != context.Canceled {
		err = cause
	}
	carried := seen.carried()
	carried.Jobs = int(jobs.Load())
	scaler.Shutdown(context.WithoutCancel(ctx))
	return carried, err
}

// job is one job, from the first look for a worker to giving it back.
func (l Load) job(ctx context.Context, scaler taskscaler.Taskscaler, key string, done func(Task)) error {
	if err := l.awaitIdle(ctx, scaler); err != nil {
		return err
	}
	acquisition, err := scaler.Acquire(ctx, key)
	if err != nil {
		return err
	}
	defer scaler.Release(key)
	info, err := acquisition.InstanceConnectInfo(ctx)
	if err != nil {
		return fmt.Errorf("worker %s: %w", acquisition.InstanceID(), err)
	}
	// A job that has begun goes on to its end.
	said, err := RunJob(context.WithoutCancel(ctx), info, l.Script)
	if err != nil {
		return fmt.Errorf("job on worker %s: %w", acquisition.InstanceID(), err)
	}
	done(Task{Worker: acquisition.InstanceID(), Stdout: said})
	return l.awaitIdle(ctx, scaler)
}

func (l Load) awaitIdle(ctx context.Context, scaler taskscaler.Taskscaler) error {
	for {
		if ready, _ := scaler.Capacity(); ready >= l.Idle {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watched is an instance group of which is noted what its workers do.
type watched struct {
	provider.InstanceGroup
	idle int

	mu      sync.Mutex
	given   map[string]bool // back, by worker
	counted bool            // there were as many as are to be idle
	least   int
	unasked []string
}

func (w *watched) Update(ctx context.Context, tell func(id string, state provider.State)) error {
	running := 0
	var going []string
	err := w.InstanceGroup.Update(ctx, func(id string, state provider.State) {
		switch state {
		case provider.StateRunning:
			running++
		case provider.StateDeleting, provider.StateDeleted, provider.StateTimeout:
			going = append(going, id)
		}
		tell(id, state)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range going {
		if !w.given[id] {
			w.unasked = append(w.unasked, id)
		}
	}
	switch {
	case err != nil:
	case w.counted:
		w.least = min(w.least, running)
	case running >= w.idle:
		w.counted, w.least = true, running
	}
	return err
}

func (w *watched) Decrease(ctx context.Context, ids []string) ([]string, error) {
	w.mu.Lock()
	for _, id := range ids {
		w.given[id] = true
	}
	w.mu.Unlock()
	return w.InstanceGroup.Decrease(ctx, ids)
}

func (w *watched) carried() Carried {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Carried{Least: w.least, Unasked: w.unasked}
}
