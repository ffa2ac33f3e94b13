package tart

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

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// outputFile takes what `tart run` prints, in the worker's directory.
const outputFile = "tart.log"

// machine is a process of `tart run`: the process is the machine.
type machine struct {
	foreigntool.Clone
	dir     string
	child   *exec.Cmd
	done    chan struct{}
	reason  error // once done is closed
	release func()
}

var (
	_ backend.Machine = (*machine)(nil)
	_ backend.Foreign = (*machine)(nil)
)

func (m *machine) Done() <-chan struct{} { return m.done }

func (m *machine) Err() error {
	select {
	case <-m.done:
		return m.reason
	default:
		return nil
	}
}

// launch starts a machine in a session of its own, so that it outlives this
// process and no signal to our process group ends it. release is called when
// it has ended.
func (b *Backend) launch(id, dir string, args []string, release func()) (*machine, error) {
	output, err := os.OpenFile(filepath.Join(dir, outputFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		release()
		return nil, fmt.Errorf("opening Tart's output: %w", err)
	}
	defer output.Close()
	cmd := exec.Command(b.tool.binary, args...)
	cmd.Env = b.tool.environment()
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		release()
		return nil, fmt.Errorf("starting tart %s: %w", strings.Join(args, " "), err)
	}
	m := &machine{Clone: foreigntool.NewClone(id), dir: dir, child: cmd, done: make(chan struct{}), release: release}
	go m.wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.machines[id] = m
	return m, nil
}

func (m *machine) wait() {
	defer close(m.done)
	defer m.release()
	ended := "ended"
	if err := m.child.Wait(); err != nil {
		ended = "ended: " + err.Error()
	}
	m.reason = fmt.Errorf("%w: tart run %s", guest.ErrGone, ended)
	said := bootlog.LastLine(filepath.Join(m.dir, outputFile))
	if strings.Contains(said, limitWords) {
		m.reason = fmt.Errorf("%w: %w", m.reason, errLimit)
		return
	}
	m.reason = fmt.Errorf("%w%s", m.reason, said)
}

// grace is how long Tart may take to end by SIGINT before it is killed.
const grace = 5 * time.Second

// end powers the machine off and waits until its process has ended.
func (m *machine) end(ctx context.Context) error {
	for _, step := range []struct {
		signal os.Signal
		wait   time.Duration
	}{{syscall.SIGINT, grace}, {syscall.SIGKILL, time.Minute}} {
		if err := m.child.Process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("ending tart run %s: %w", m.ID(), err)
		}
		select {
		case <-m.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("waiting for the end of tart run %s: %w", m.ID(), context.Cause(ctx))
		case <-time.After(step.wait):
		}
	}
	return fmt.Errorf("tart run %s does not end", m.ID())
}
