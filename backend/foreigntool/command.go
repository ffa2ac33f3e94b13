package foreigntool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Command is one run of a tool, or of another program of the host.
type Command struct {
	// Line is the program and its arguments.
	Line []string
	// Env is its environment; nil is that of this process.
	Env []string
	// Stop is the signal that asks it to end when the context has ended. It is
	// killed when it does not within Grace.
	Stop  os.Signal
	Grace time.Duration
}

// Run runs the command to its end and returns what it printed. With show, both
// outputs are shown as they come, and returned as stderr. The error is that of
// os/exec, or the cause of a context that has ended. A process that the command
// leaves running, with its outputs open, is no error.
func (c Command) Run(ctx context.Context, show io.Writer) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, c.Line[0], c.Line[1:]...)
	cmd.Env = c.Env
	cmd.Cancel = func() error { return cmd.Process.Signal(c.Stop) }
	cmd.WaitDelay = c.Grace
	var printed, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &failed
	if show != nil { // one writer for both, so that they take turns
		all := io.MultiWriter(show, &failed)
		cmd.Stdout, cmd.Stderr = all, all
	}
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return printed.String(), failed.String(), err
}

// shownLines is how many last lines of a program an error shows.
const shownLines = 10

// LastLines is the end of what a program printed, for an error: before it may be
// the progress of a download.
func LastLines(printed string) string {
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	return strings.Join(lines[max(0, len(lines)-shownLines):], "\n")
}
