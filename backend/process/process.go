//go:build linux

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
	// Input is the program's standard input; nil is the null device.
	Input *os.File
	// Output is the path of a file that takes what the program prints.
	Output string
	// Confinement, if any, is all that the program has. Without one it may do what
	// we may.
	Confinement *Confinement
}

// Process is a process that is ours: a child, or one that an earlier plugin
// process started.
type Process struct {
	Identity
	// signal reaches this very process, also when its pid was given to another.
	signal func(os.Signal) error
	done   chan struct{}
	reason error
	// joined is closed when the process is in its control group, or joinError says why
	// it is not.
	joined    chan struct{}
	joinError error
}

// ErrSucceeded says that a process ended by itself with exit code 0.
var ErrSucceeded = errors.New("ended with exit code 0")

// Start starts the command in a session of its own: a signal to our process
// group, which service managers send, does not reach it. A command that has
// ended already is no error; it has no identity.
func Start(c Command) (*Process, error) {
	output, err := os.OpenFile(c.Output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the output of %s: %w", c.Path, err)
	}
	defer output.Close()

	cmd := exec.Command(c.Path, c.Arguments...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.ExtraFiles = c.Files
	if c.Input != nil { // a nil *os.File is no nil io.Reader
		cmd.Stdin = c.Input
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	join := func() error { return nil }
	if c.Confinement != nil {
		join, err = startConfined(c, cmd)
	} else {
		err = startIn(c.Namespace, cmd)
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Path, err)
	}
	p := watch(cmd, join)
	if c.Confinement != nil && !c.Confinement.JoinsLate {
		<-p.joined
		if p.joinError != nil {
			<-p.done
			return nil, fmt.Errorf("starting %s: %w", c.Path, p.joinError)
		}
	}
	p.Identity, err = Identify(cmd.Process.Pid)
	if err != nil && !errors.Is(err, ErrNotRunning) { // nobody could find it again
		_ = cmd.Process.Kill()
		<-p.done
		return nil, fmt.Errorf("starting %s: %w", c.Path, err)
	}
	return p, nil
}

// watch is the process of a command that was started, and has it join its group.
func watch(cmd *exec.Cmd, join func() error) *Process {
	p := &Process{signal: cmd.Process.Signal, done: make(chan struct{}), joined: make(chan struct{})}
	go p.wait(cmd)
	go p.join(cmd.Process.Pid, join)
	return p
}

// wait leaves an ended process in place until it has joined its group: its pid, by which
// it joins, would go to another.
func (p *Process) wait(cmd *exec.Cmd) {
	defer close(p.done)
	<-p.joined
	p.reason = ErrSucceeded
	if err := cmd.Wait(); err != nil {
		p.reason = fmt.Errorf("ended: %w", err)
	}
	if p.joinError != nil {
		p.reason = p.joinError
	}
}

// join ends a process that cannot be put into its control group. One that has ended by
// itself meanwhile is no failure: its end is.
func (p *Process) join(pid int, join func() error) {
	defer close(p.joined)
	err := join()
	if err == nil || hasEnded(pid) {
		return
	}
	p.joinError = err
	_ = p.signal(syscall.SIGKILL)
}

// hasEnded says whether a child has ended that nobody has waited for.
func hasEnded(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}

// Joined waits until the process is in its control group. One that could not be put
// there is ended.
func (p *Process) Joined(ctx context.Context) error {
	select {
	case <-p.joined:
		return p.joinError
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// startIn starts cmd from a thread inside the network namespace: a child has
// the namespace of the thread that made it.
func startIn(namespace string, cmd *exec.Cmd) error {
	if namespace == "" {
		return cmd.Start()
	}
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("asking for our network namespace: %w", err)
	}
	defer home.Close()
	err = enterAndStart(namespace, cmd)
	if back := netns.Set(home); back != nil {
		// The thread stays locked, and ends with its goroutine, so that no other
		// code runs in the wrong namespace.
		return errors.Join(err, fmt.Errorf("going back to our network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
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

// alreadyJoined is closed: who is adopted has been where it belongs for long.
var alreadyJoined = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Adopt watches a process that is not our child.
func Adopt(id Identity) (*Process, error) {
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("pid %d: %w", id.PID, ErrNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("opening pid %d: %w", id.PID, err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	if err := id.check(); err != nil { // the pid may have passed to another before it was opened
		return nil, errors.Join(err, pidfd.Close())
	}
	conn, err := pidfd.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watching pid %d: %w", id.PID, err), pidfd.Close())
	}
	p := &Process{Identity: id, done: make(chan struct{}), joined: alreadyJoined, signal: func(signal os.Signal) error {
		return sendSignal(conn, signal)
	}}
	go func() {
		defer close(p.done)
		defer pidfd.Close()
		p.reason = waitForEnd(conn)
	}()
	return p, nil
}

func sendSignal(pidfd syscall.RawConn, signal os.Signal) error {
	var sent error
	err := pidfd.Control(func(fd uintptr) {
		sent = unix.PidfdSendSignal(int(fd), signal.(syscall.Signal), nil, 0)
	})
	switch {
	case errors.Is(err, os.ErrClosed), errors.Is(sent, unix.ESRCH):
		return os.ErrProcessDone
	}
	return errors.Join(err, sent)
}

// waitForEnd waits without holding a thread: a pidfd is readable once the
// process has ended.
func waitForEnd(pidfd syscall.RawConn) error {
	err := pidfd.Read(func(fd uintptr) bool {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return ready > 0 && err == nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the end: %w", err)
	}
	return errors.New("ended")
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

// Terminate asks the process to end in order, and does not wait for that.
func (p *Process) Terminate() error {
	if err := p.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending pid %d: %w", p.PID, err)
	}
	return nil
}

// Kill ends the process and waits until it is gone. It is idempotent.
func (p *Process) Kill(ctx context.Context) error {
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing pid %d: %w", p.PID, err)
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of pid %d: %w", p.PID, context.Cause(ctx))
	}
}
