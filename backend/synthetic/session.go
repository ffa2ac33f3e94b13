package synthetic

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// commandLimit is how long one command may run, so that a forgotten one
	// does not outlive the demo.
	commandLimit = time.Hour
	// outputDelay is how long an orphan of a command may hold its output open
	// after its end.
	outputDelay = time.Second
	// statusUnknown is the exit status of a command that never ran.
	statusUnknown = 127
)

// serveChannel answers the requests of one session.
func (m *machine) serveChannel(ctx context.Context, offered ssh.NewChannel) {
	if offered.ChannelType() != "session" {
		offered.Reject(ssh.UnknownChannelType, "only sessions")
		return
	}
	channel, requests, err := offered.Accept()
	if err != nil {
		return
	}
	ctx, closed := context.WithCancel(ctx)
	defer closed() // a command whose session was closed is killed
	started := false
	for request := range requests {
		args, ok := shellArgs(request)
		ok = ok && (args == nil || !started)
		if request.WantReply {
			request.Reply(ok, nil)
		}
		if ok && args != nil {
			started = true
			m.work.Go(func() { m.run(ctx, channel, args) })
		}
	}
	if !started {
		channel.Close()
	}
}

// shellArgs says what a request makes the shell do: nil is nothing. Not ok is
// a request that is refused, such as one for a terminal.
func shellArgs(request *ssh.Request) (args []string, ok bool) {
	switch request.Type {
	case "env":
		return nil, true
	case "shell":
		return []string{"-s"}, true
	case "exec":
		var exec struct{ Command string }
		if err := ssh.Unmarshal(request.Payload, &exec); err != nil {
			return nil, false
		}
		return []string{"-c", exec.Command}, true
	default:
		return nil, false
	}
}

// run runs one shell in the worker's directory, with the channel as its
// standard input and outputs, and ends the session with its exit status.
func (m *machine) run(ctx context.Context, channel ssh.Channel, args []string) {
	defer channel.Close()
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	status := struct{ Status uint32 }{m.shell(ctx, channel, args)}
	channel.SendRequest("exit-status", false, ssh.Marshal(status))
}

// leashed is a script that becomes the shell with its arguments. Beside it waits
// another process of its group, which kills them all when descriptor 3 ends: with
// this process, however that ends.
const leashed = `(read -r _ <&3; kill -9 0) >/dev/null 2>&1 & exec 3<&-; exec sh "$@"`

func (m *machine) shell(ctx context.Context, channel ssh.Channel, args []string) uint32 {
	leash, ours, err := os.Pipe()
	if err != nil {
		return statusUnknown
	}
	defer ours.Close()
	defer leash.Close()
	shell := exec.CommandContext(ctx, "sh", append([]string{"-c", leashed, "sh"}, args...)...)
	shell.ExtraFiles = []*os.File{leash} // descriptor 3
	shell.Dir = m.dir
	shell.Env = []string{"HOME=" + m.dir, "USER=" + m.user, "LOGNAME=" + m.user, "PATH=" + os.Getenv("PATH")}
	shell.Stdout, shell.Stderr = channel, channel.Stderr()
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return killGroup(shell.Process) }
	shell.WaitDelay = outputDelay
	stdin, err := shell.StdinPipe()
	if err != nil {
		return statusUnknown
	}
	if err := shell.Start(); err != nil {
		io.WriteString(channel.Stderr(), err.Error()+"\n")
		return statusUnknown
	}
	// With shell.Stdin, Wait would wait for an end of input that a client may never
	// send. This copy ends with the channel.
	m.work.Go(func() {
		io.Copy(stdin, channel)
		stdin.Close()
	})
	shell.Wait()             // an error says no more than the state, or that the client went away
	killGroup(shell.Process) // orphans that the shell left in the background
	return exitStatus(shell.ProcessState)
}

// killGroup kills a shell and all that it started, except for processes that have
// left its process group.
func killGroup(shell *os.Process) error {
	err := syscall.Kill(-shell.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// exitStatus is the status as shells give it: 128 plus the signal's number for a
// command that a signal ended.
func exitStatus(state *os.ProcessState) uint32 {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + uint32(status.Signal())
	}
	return uint32(state.ExitCode())
}
