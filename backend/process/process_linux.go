package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Command is a program to start.
type Command struct {
	Path      string
	Arguments []string
	// Namespace is the path of the network namespace to start in; empty means
	// the caller's.
	Namespace string
	// Files become the descriptors 3, 4, … of the program.
	Files []*os.File
	// Output is the path of a file that takes what the program prints.
	Output string
}

// Process is a process that is ours: a child, or one that an earlier plugin
// process started.
type Process struct {
	Identity
	done   chan struct{}
	reason error
}

// Start starts the command in a session of its own: a signal to our process
// group, which service managers send, does not reach it.
func Start(c Command) (*Process, error) {
	output, err := os.OpenFile(c.Output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the output of %s: %w", c.Path, err)
	}
	defer output.Close()

	cmd := exec.Command(c.Path, c.Arguments...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.ExtraFiles = c.Files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := startIn(c.Namespace, cmd); err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Path, err)
	}
	p := &Process{done: make(chan struct{})}
	p.Identity, err = Identify(cmd.Process.Pid)
	go func() {
		defer close(p.done)
		p.reason = ended(cmd.Wait())
	}()
	if err != nil { // it ended at once
		<-p.done
		return nil, fmt.Errorf("starting %s: %w", c.Path, p.reason)
	}
	return p, nil
}

// startIn starts cmd from a thread inside the network namespace: a child has
// the namespace of the thread that made it.
func startIn(namespace string, cmd *exec.Cmd) error {
	if namespace == "" {
		return cmd.Start()
	}
	started := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with this goroutine, so that no
		// other code can run in the wrong namespace.
		runtime.LockOSThread()
		started <- enterAndStart(namespace, cmd)
	}()
	return <-started
}

func enterAndStart(namespace string, cmd *exec.Cmd) error {
	ns, err := netns.GetFromPath(namespace)
	if err != nil {
		return fmt.Errorf("opening network namespace %s: %w", namespace, err)
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("entering network namespace %s: %w", namespace, err)
	}
	return cmd.Start()
}

func ended(err error) error {
	if err == nil {
		return errors.New("ended with exit code 0")
	}
	return fmt.Errorf("ended: %w", err)
}

// Adopt watches a process that is not our child.
func Adopt(id Identity) (*Process, error) {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err != nil {
		return nil, fmt.Errorf("pid %d: %w", id.PID, ErrNotRunning)
	}
	if !id.Running() { // the pid may have passed to another before it was opened
		_ = unix.Close(fd)
		return nil, fmt.Errorf("pid %d: %w", id.PID, ErrNotRunning)
	}
	p := &Process{Identity: id, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		defer unix.Close(fd)
		p.reason = waitForEnd(fd)
	}()
	return p, nil
}

func waitForEnd(pidfd int) error {
	events := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for the end: %w", err)
		}
		return errors.New("ended")
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is nil while the process runs, and says how it ended after that.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.reason
	default:
		return nil
	}
}

// Kill ends the process and waits until it is gone. It is idempotent.
func (p *Process) Kill(ctx context.Context) error {
	if p.Identity.Running() {
		if err := unix.Kill(p.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("killing pid %d: %w", p.PID, err)
		}
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of pid %d: %w", p.PID, context.Cause(ctx))
	}
}
