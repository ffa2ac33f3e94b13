package plugin

import (
	"bufio"
	"bytes"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
)

// Ctrl-C reaches the whole process group: try, its plugin, and their children.
func TestInterruptedTryLeavesNothing(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	var stdout bytes.Buffer
	command := exec.Command(binary, "try", "--backend", "synthetic", "--state-dir", stateDir, "--jobs", "2", "--json",
		"--", "sleep", "60")
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Stdout = &stdout
	stderr, err := command.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	lines := bufio.NewScanner(stderr)
	for running := 0; running < 2 && lines.Scan(); {
		if strings.Contains(lines.Text(), "worker runs") {
			running++
		}
	}
	require.NoError(t, syscall.Kill(-command.Process.Pid, syscall.SIGINT))
	for lines.Scan() { // the pipe must not fill up
		t.Log(lines.Text())
	}
	_ = command.Wait() // the state says more
	require.Equal(t, 130, command.ProcessState.ExitCode())
	require.Contains(t, stdout.String(), `"left_over": []`)
	require.Empty(t, runner.WorkerDirs(t, stateDir))
}
