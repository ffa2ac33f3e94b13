package runner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"gitlab.com/gitlab-org/fleeting/taskscaler"
)

// Task is what became of one task.
type Task struct {
	Worker string
	Stdout string
	Err    error
}

// RunTasks runs a script for each task, all at once as far as there is room,
// each on a worker of its own, and then ends all workers. The runner's own
// scaling loop, in front of a plugin that is not initialised, decides when
// workers are made.
func (p *Plugin) RunTasks(ctx context.Context, tasks, instances int, script func(n int) string) ([]Task, error) {
	scaler, err := taskscaler.New(ctx, p.InstanceGroup,
		taskscaler.WithLogger(hclog.NewNullLogger()),
		taskscaler.WithMaxInstances(instances),
		taskscaler.WithCapacityPerInstance(1),
		taskscaler.WithMaxUseCount(1),
		taskscaler.WithAcquireDelay(50*time.Millisecond),
		taskscaler.WithUpdateInterval(time.Second),
		taskscaler.WithUpdateIntervalWhenExpecting(50*time.Millisecond),
		taskscaler.WithShutdownDeletionInterval(50*time.Millisecond),
		taskscaler.WithDeleteInstancesOnShutdown(),
	)
	if err != nil {
		return nil, err
	}
	defer scaler.Shutdown(ctx)
	var running sync.WaitGroup
	done := make([]Task, tasks)
	for n := range done {
		running.Go(func() { done[n] = runTask(ctx, scaler, fmt.Sprintf("task-%d", n), script(n)) })
	}
	running.Wait()
	return done, nil
}

func runTask(ctx context.Context, scaler taskscaler.Taskscaler, key, script string) Task {
	acquisition, err := scaler.Acquire(ctx, key)
	if err != nil {
		return Task{Err: err}
	}
	defer scaler.Release(key)
	task := Task{Worker: acquisition.InstanceID()}
	info, err := acquisition.InstanceConnectInfo(ctx)
	if err != nil {
		task.Err = err
		return task
	}
	task.Stdout, task.Err = RunJob(ctx, info, script)
	return task
}
