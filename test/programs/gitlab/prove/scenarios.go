//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/gitlab"
)

// patience bounds one scenario's jobs: by emulation they may take minutes.
const patience = 10 * time.Minute

// scenario is a story that ends well or with an error.
type scenario struct {
	name string
	run  func(context.Context, *stage) error
}

var scenarios = []scenario{
	{"jobs", jobs},
	{"idle", idle},
	{"path", path},
	{"sources", sources},
	{"artifacts", artifacts},
	{"cancel", cancelled},
	{"drain", drained},
	{"stop", stopped},
	{"killed", killed},
	{"docker", docker},
	{"suspend", suspended},
}

// instance is the instance executor with so many idle workers.
func instance(idle int) settings { return settings{executor: "instance", idle: idle} }

// firstLine prints when the guest began with the script.
const firstLine = "echo began $(date +%s.%N)"

// jobs runs three at once with nothing ready, each on a machine of its own, and
// one that fails.
func jobs(ctx context.Context, s *stage) error {
	return s.with(ctx, instance(0), func(*runner) error {
		var ids []string
		var queue []*gitlab.Job
		for n := range 3 {
			queue = append(queue, s.gitlab.Offer(gitlab.Spec{
				Name:   fmt.Sprintf("three at once, %d", n),
				Script: []string{firstLine, "echo machine=$(cat /etc/machine-id)", "id -un", "sudo -n id -un"},
			}))
		}
		for _, job := range queue {
			outcome, err := await(ctx, job, gitlab.Success)
			if err != nil {
				return err
			}
			ids = append(ids, after(outcome.Trace, "machine="))
			sayBegan(job, outcome)
		}
		slices.Sort(ids)
		if slices.Contains(ids, "") || len(slices.Compact(slices.Clone(ids))) != len(ids) {
			return fmt.Errorf("jobs shared a machine, or had none: %q", ids)
		}
		say("   machines %v", ids)
		return failing(ctx, s)
	})
}

func failing(ctx context.Context, s *stage) error {
	job := s.gitlab.Offer(gitlab.Spec{Name: "fails", Script: []string{firstLine, "exit 42"}})
	outcome, err := await(ctx, job, gitlab.Failed)
	if err != nil {
		return err
	}
	sayBegan(job, outcome)
	if outcome.ExitCode != 42 || outcome.FailureReason != "script_failure" {
		return fmt.Errorf("the job that ends with 42 has exit code %d and failed for %q", outcome.ExitCode,
			outcome.FailureReason)
	}
	return nil
}

// idle runs jobs one after the other with a worker ready.
func idle(ctx context.Context, s *stage) error {
	return s.with(ctx, instance(1), func(*runner) error {
		for n := range 3 {
			if err := s.awaitWorkers(ctx, pool.Running, 1); err != nil {
				return err
			}
			time.Sleep(time.Second) // the runner has to see it too
			job := s.gitlab.Offer(gitlab.Spec{
				Name: fmt.Sprintf("a worker is ready, %d", n), Script: []string{firstLine},
			})
			outcome, err := await(ctx, job, gitlab.Success)
			if err != nil {
				return err
			}
			sayBegan(job, outcome)
		}
		return nil
	})
}

// sources clones the repository in a worker.
func sources(ctx context.Context, s *stage) error {
	return s.with(ctx, instance(1), func(*runner) error {
		job := s.gitlab.Offer(gitlab.Spec{Name: "clones", Git: true, Script: []string{"cat greeting"}})
		outcome, err := await(ctx, job, gitlab.Success)
		if err == nil && !strings.Contains(outcome.Trace, gitlab.Greeting) {
			err = fmt.Errorf("the file of the repository is not in the trace:\n%s", outcome.Trace)
		}
		return err
	})
}

// artifacts hands a file from one worker to another.
func artifacts(ctx context.Context, s *stage) error {
	return s.with(ctx, instance(1), func(*runner) error {
		first := s.gitlab.Offer(gitlab.Spec{
			Name: "uploads", Script: []string{"cat /etc/machine-id >made; cat made"}, Artifacts: []string{"made"},
		})
		made, err := await(ctx, first, gitlab.Success)
		if err != nil {
			return err
		}
		second := s.gitlab.Offer(gitlab.Spec{Name: "downloads", From: first, Script: []string{"echo made=$(cat made)"}})
		outcome, err := await(ctx, second, gitlab.Success)
		if err != nil {
			return err
		}
		if id := after(outcome.Trace, "made="); len(id) != 32 || !strings.Contains(made.Trace, id) {
			return fmt.Errorf("the second job has %q of the first, whose trace is\n%s", id, made.Trace)
		}
		return nil
	})
}

// cancelled cancels a job that would go on for an hour.
func cancelled(ctx context.Context, s *stage) error {
	return s.with(ctx, instance(0), func(*runner) error {
		job := s.gitlab.Offer(gitlab.Spec{Name: "is cancelled", Script: []string{"echo works", "sleep 3600"}})
		if err := awaitTrace(ctx, job, "works"); err != nil {
			return err
		}
		job.Cancel()
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := s.awaitWorkers(limited, pool.Running, 0); err != nil {
			return fmt.Errorf("after the job was cancelled: %w", err)
		}
		say("   its worker was gone %.1f s later", time.Since(began).Seconds())
		return nil
	})
}

// drained sends SIGQUIT to the process group while a job runs.
func drained(ctx context.Context, s *stage) error {
	return s.with(ctx, instance(1), func(r *runner) error {
		job := s.gitlab.Offer(gitlab.Spec{
			Name: "is drained", Script: []string{"echo works", "sleep 10", "echo still works"},
		})
		if err := awaitTrace(ctx, job, "works"); err != nil {
			return err
		}
		if err := r.signal(syscall.SIGQUIT); err != nil {
			return err
		}
		outcome, err := await(ctx, job, gitlab.Success)
		if err == nil && !strings.Contains(outcome.Trace, "still works") {
			err = errors.New("the trace lacks what the job said after the signal")
		}
		return err
	})
}

// stopped sends SIGTERM to the process group while a job runs, as a service
// manager does that was not told otherwise: the job is cut off. The signal by
// which every scenario ends is the second one then, on which a runner dies that
// is still waiting for the plugin's Shutdown.
func stopped(ctx context.Context, s *stage) error {
	return s.with(ctx, instance(1), func(r *runner) error {
		job := s.gitlab.Offer(gitlab.Spec{Name: "is cut off", Script: []string{"echo works", "sleep 3600"}})
		if err := awaitTrace(ctx, job, "works"); err != nil {
			return err
		}
		if err := r.signal(syscall.SIGTERM); err != nil {
			return err
		}
		outcome, err := await(ctx, job, gitlab.Failed)
		reasons := []string{"runner_interrupted", "runner_system_failure"} // the second, before there was the first
		if err == nil && !slices.Contains(reasons, outcome.FailureReason) {
			err = fmt.Errorf("the job failed for %q", outcome.FailureReason)
		}
		return err
	})
}

// killed kills the runner while a job runs.
func killed(ctx context.Context, s *stage) error {
	return s.with(ctx, instance(1), func(r *runner) error {
		job := s.gitlab.Offer(gitlab.Spec{Name: "loses its runner", Script: []string{"echo works", "sleep 3600"}})
		if err := awaitTrace(ctx, job, "works"); err != nil {
			return err
		}
		if err := s.requirePlugin(); err != nil {
			return err
		}
		r.kill()
		job.Cancel() // GitLab gives it up after a while
		began := time.Now()
		if err := s.awaitNothing(); err != nil {
			return err
		}
		say("   all was gone %.1f s after the runner", time.Since(began).Seconds())
		return nil
	})
}

// await waits for a job's end, which is to be a certain one.
func await(ctx context.Context, job *gitlab.Job, state gitlab.State) (gitlab.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	outcome, err := job.Await(ctx)
	if err != nil {
		return outcome, err
	}
	say("   job %d, %s: %s %s", job.ID, job.Name, outcome.State, outcome.FailureReason)
	if outcome.State != state {
		return outcome, fmt.Errorf("job %d, %s, is %s and not %s; its trace:\n%s", job.ID, job.Name, outcome.State,
			state, outcome.Trace)
	}
	return outcome, nil
}

func awaitTrace(ctx context.Context, job *gitlab.Job, text string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return job.AwaitTrace(ctx, text)
}

// sayBegan tells how long after it was handed out a job began.
func sayBegan(job *gitlab.Job, outcome gitlab.Outcome) {
	began, err := strconv.ParseFloat(after(outcome.Trace, "began "), 64)
	if err == nil {
		say("   job %d began %.2f s after it was handed out", job.ID, began-float64(job.Began().UnixNano())/1e9)
	}
}

// after is what a job printed after a word, to the end of the line. The trace
// has the command that printed it too, with the variable that it printed.
func after(trace, word string) string {
	for line := range strings.Lines(trace) {
		if _, rest, found := strings.Cut(line, word); found && !strings.Contains(rest, "$") {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
