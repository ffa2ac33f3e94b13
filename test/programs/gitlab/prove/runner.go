//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// glance is the pause between two looks at what goes on meanwhile.
const glance = 50 * time.Millisecond

// endLimit bounds what follows the end of a runner.
const endLimit = 2 * time.Minute

// runner is a gitlab-runner process, in a process group of its own with its
// plugin, as a service manager has it.
type runner struct {
	command *exec.Cmd
	log     string
	ended   chan error
}

// start builds the image and starts gitlab-runner.
func (s *stage) start(ctx context.Context, set settings) (*runner, error) {
	config, err := s.configure(set)
	if err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, s.plugin, "image", "build", "--config", config)
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the image: %w\n%s", err, out)
	}
	r := &runner{log: filepath.Join(s.work, "runner.log"), ended: make(chan error, 1)}
	log, err := os.Create(r.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r.command = exec.Command("gitlab-runner", "run", "--config", config, "--working-directory", s.work)
	r.command.Stdout, r.command.Stderr = log, log
	r.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.command.Start(); err != nil {
		return nil, err
	}
	go func() { r.ended <- r.command.Wait() }()
	return r, nil
}

// with runs what a scenario does with a runner, ends the runner by draining it,
// and requires that nothing is left. When anything fails, the error has the log.
func (s *stage) with(ctx context.Context, set settings, do func(*runner) error) error {
	r, err := s.start(ctx, set)
	if err != nil {
		return err
	}
	if err = do(r); err == nil {
		err = r.drain()
	}
	r.kill()
	err = errors.Join(err, s.awaitNothing())
	if complaints := s.gitlab.Complaints(); len(complaints) > 0 {
		err = errors.Join(err, fmt.Errorf("GitLab would have refused: %s", strings.Join(complaints, "; ")))
	}
	if err != nil {
		text, _ := os.ReadFile(r.log)
		err = fmt.Errorf("%w\nthe runner's log:\n%s", err, text)
	}
	return err
}

// signal does what a service manager does to all processes of a service.
func (r *runner) signal(signal syscall.Signal) error {
	return syscall.Kill(-r.command.Process.Pid, signal)
}

// drain asks the runner to end when its jobs have, and waits for that. It is
// all right if it was asked before, or killed.
func (r *runner) drain() error {
	_ = r.signal(syscall.SIGQUIT) // it may have ended
	select {
	case err := <-r.ended:
		r.ended <- err
		return nil
	case <-time.After(endLimit):
		return fmt.Errorf("the runner has not ended %s after SIGQUIT", endLimit)
	}
}

// kill kills the runner, and not its plugin.
func (r *runner) kill() {
	_ = r.command.Process.Kill() // it may have ended
	r.ended <- <-r.ended
}

// awaitWorkers waits until so many workers of the pool are in a state.
func (s *stage) awaitWorkers(ctx context.Context, state pool.State, n int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		found, err := s.workers(state)
		if err != nil || found == n {
			return err
		}
		select {
		case <-time.After(glance):
		case <-ctx.Done():
			return fmt.Errorf("waiting until %d workers are %s, and not %d: %w", n, state, found, context.Cause(ctx))
		}
	}
}

func (s *stage) workers(state pool.State) (n int, err error) {
	records, err := store.Look(s.poolDir())
	if err != nil {
		return 0, err
	}
	ids, err := records.List()
	for _, id := range ids {
		if record, err := records.Load(id); err == nil && pool.State(record.State) == state {
			n++
		}
	}
	return n, err
}

func (s *stage) poolDir() string { return filepath.Join(s.stateDir, "pools", "default") }
