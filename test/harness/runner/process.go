package runner

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Process is a process that plays the runner, in a process group of its own
// with the plugin that it starts. The test's package calls Play in TestMain.
type Process struct {
	t       testing.TB
	command *exec.Cmd
	stdin   io.Writer
	stdout  *bufio.Scanner
}

// StartProcess returns once the plugin is initialised.
func StartProcess(t testing.TB, binary string, config map[string]any) *Process {
	t.Helper()
	text, err := json.Marshal(config)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	command := exec.Command(self, role, binary, string(text))
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := command.StdinPipe()
	require.NoError(t, err)
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	p := &Process{t: t, command: command, stdin: stdin, stdout: bufio.NewScanner(stdout)}
	t.Cleanup(p.Kill)
	p.expect("ready")
	return p
}

// Tell has the runner do something, and waits for it to say that it is done.
func (p *Process) Tell(what string) {
	p.t.Helper()
	_, err := fmt.Fprintln(p.stdin, what)
	require.NoError(p.t, err)
	p.expect(what + " done")
}

func (p *Process) expect(line string) {
	p.t.Helper()
	require.True(p.t, p.stdout.Scan(), "the runner has ended: %v", p.stdout.Err())
	require.Equal(p.t, line, p.stdout.Text())
}

// Kill kills the runner, but not its plugin.
func (p *Process) Kill() {
	_ = p.command.Process.Kill() // it may have ended
	_ = p.command.Wait()
}

// SignalGroup does what a service manager does to all processes of a service.
func (p *Process) SignalGroup(signals ...syscall.Signal) {
	p.t.Helper()
	for _, signal := range signals {
		require.NoError(p.t, syscall.Kill(-p.command.Process.Pid, signal))
	}
}
