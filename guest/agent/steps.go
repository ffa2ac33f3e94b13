//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// stepEnvironment is what a prebuild step sees: what cloud-init's runcmd gives
// its commands, and apt told not to ask.
var stepEnvironment = []string{
	"HOME=/root",
	"USER=root",
	"LANG=C.UTF-8",
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"DEBIAN_FRONTEND=noninteractive",
}

// run runs a shell command, standard output and error together.
func run(ctx context.Context, command string, output io.Writer) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Dir = "/"
	cmd.Env = stepEnvironment
	cmd.Stdout, cmd.Stderr = output, output
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &guest.ExitError{Code: exitCode(exit)}
	}
	return err
}

// exitCode is the shell's: 128 and the signal for a command that was killed.
func exitCode(exit *exec.ExitError) int {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
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
// The host has been answered already: it sees a guest that stays.
func (a *Agent) powerOff(ctx context.Context) {
	if out, err := exec.CommandContext(ctx, "systemctl", "--no-block", "poweroff").CombinedOutput(); err != nil {
		a.Log.Error("systemctl poweroff", "error", err, "output", string(out))
	}
}
