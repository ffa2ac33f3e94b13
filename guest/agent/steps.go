//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// stepEnvironment is the environment of a prebuild step: that of cloud-init's
// runcmd, and a setting that keeps apt from asking questions.
var stepEnvironment = []string{
	"HOME=/root",
	"USER=root",
	"LANG=C.UTF-8",
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"DEBIAN_FRONTEND=noninteractive",
}

// lingering is how long output is taken from what a command has started, after its
// own end. It is enough for what is in the pipe by then.
const lingering = time.Second

// run runs a shell command in stepEnvironment and environment, standard output and
// error together, until it ends. What it leaves running goes on, and its output is
// thrown away.
func run(ctx context.Context, command string, environment []string, output io.Writer) error {
	said, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Dir = "/"
	cmd.Env = slices.Concat(stepEnvironment, environment)
	cmd.Stdout, cmd.Stderr = theirs, theirs
	err = cmd.Start()
	_ = theirs.Close() // the command has its own
	if err != nil {
		return errors.Join(err, said.Close())
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		_ = said.SetReadDeadline(time.Now().Add(lingering))
	}()
	_, copyErr := io.Copy(output, said)
	go func() { // whoever still writes must not be ended by that
		_ = said.SetReadDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, said)
		_ = said.Close()
	}()
	if err = <-ended; err == nil && !errors.Is(copyErr, os.ErrDeadlineExceeded) {
		err = copyErr
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code := exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			code = 128 + int(status.Signal()) // as shells have it
		}
		return &guest.ExitError{Code: code}
	}
	return err
}

// fetch sends a file.
func fetch(path string, output io.Writer) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(output, file); err != nil {
		return fmt.Errorf("sending %s: %w", path, err)
	}
	return nil
}

// powerOff asks systemd, so that services end in order and disks are unmounted.
// A failure is only logged: the host has its answer already, and will see that
// the guest does not end.
func (a *agent) powerOff(ctx context.Context) {
	if out, err := exec.CommandContext(ctx, "systemctl", "--no-block", "poweroff").CombinedOutput(); err != nil {
		a.log.Error("systemctl poweroff", "error", err, "output", string(out))
	}
}
