package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
)

// operator runs the built program on a state directory, as a person does.
type operator struct {
	t        *testing.T
	stateDir string
}

// run returns what a command printed, and its exit code.
func (o operator) run(stdin []byte, args ...string) (stdout, stderr string, exit int) {
	o.t.Helper()
	var out, problems bytes.Buffer
	flags := []string{args[0], "--state-dir", o.stateDir, "--backend", "synthetic"}
	command := exec.CommandContext(o.t.Context(), binary, append(flags, args[1:]...)...)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(stdin), &out, &problems
	var failed *exec.ExitError
	if err := command.Run(); errors.As(err, &failed) {
		exit = failed.ExitCode()
	} else {
		require.NoError(o.t, err)
	}
	return out.String(), problems.String(), exit
}

// does runs a command that succeeds.
func (o operator) does(args ...string) string {
	o.t.Helper()
	stdout, stderr, exit := o.run(nil, args...)
	require.Zero(o.t, exit, "%v: %s", args, stderr)
	return stdout
}

// fails runs a command that fails, and returns what it says.
func (o operator) fails(exit int, args ...string) string {
	o.t.Helper()
	_, stderr, got := o.run(nil, args...)
	require.Equal(o.t, exit, got, "%v: %s", args, stderr)
	return stderr
}

// states is what ps tells of each worker: its state and the reason.
func (o operator) states() map[string][2]string {
	o.t.Helper()
	var all []struct{ ID, State, Reason string }
	require.NoError(o.t, json.Unmarshal([]byte(o.does("ps", "--json")), &all))
	states := make(map[string][2]string)
	for _, w := range all {
		states[w.ID] = [2]string{w.State, w.Reason}
	}
	return states
}

// TestAFailedJobsWorkerIsHeldForItsOperator goes through all that one does then.
func TestAFailedJobsWorkerIsHeldForItsOperator(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	config := pluginConfig(stateDir)
	config["host"] = map[string]any{"max_workers": 1}
	config["hold"] = map[string]any{"on": "failed", "for": "1h", "max": 1}
	plugin := startQuiet(t, config)
	require.NoError(t, plugin.Initialise(t.Context()))
	grow := func() string {
		require.NoError(t, plugin.Grow(t.Context(), 1))
		ids, err := plugin.AwaitRunning(t.Context())
		require.NoError(t, err)
		require.Len(t, ids, 1)
		return ids[0]
	}
	o := operator{t, stateDir}
	held := grow()
	_, err := plugin.Run(t.Context(), held, "echo evidence >proof; echo job 17 of us >~/mayfly-hold; exit 1")
	require.Error(t, err)
	_, err = plugin.Decrease(t.Context(), []string{held})
	require.NoError(t, err)
	require.NoError(t, plugin.AwaitDeleted(t.Context(), held))
	worker := grow() // the slot is free
	states := o.states()
	require.Equal(t, "running", states[worker][0])
	require.Equal(t, "held", states[held][0])
	require.Regexp(t, `^held for another (1h0m0s|5\dm\d+s): its job asked for it, and says: job 17 of us$`,
		states[held][1])

	require.Equal(t, "evidence\n", o.does("ssh", held, "cat", "proof"))
	require.Empty(t, strings.TrimSpace(o.fails(7, "ssh", held, "exit 7")))
	all := make([]byte, 1<<18)
	for i := range all {
		all[i] = byte(i ^ i>>8)
	}
	echoed, _, exit := o.run(all, "ssh", held, "cat")
	require.Zero(t, exit)
	require.True(t, echoed == string(all), "bytes go both ways as they are")
	shell, _, exit := o.run([]byte("cat proof; exit 3"), "ssh", held)
	require.Equal(t, 3, exit)
	require.Equal(t, "evidence\n", shell)
	require.Contains(t, o.fails(1, "console", held), "has no console")
	require.Contains(t, o.fails(1, "debug", held), "`ssh` opens a shell in the held worker itself")
	require.Contains(t, o.fails(1, "hold", worker), "1 workers are held already")
	require.Contains(t, o.fails(2, "hold", "--for", "1s", held), "--for: 1s is out of range")
	o.does("hold", "--for", "3h", held)
	require.Eventually(t, func() bool {
		return strings.HasPrefix(o.states()[held][1], "held for another 2h59m") ||
			strings.HasPrefix(o.states()[held][1], "held for another 3h0m0s")
	}, soon, 20*time.Millisecond)

	log := o.does("logs", held)
	require.Contains(t, log, "default: worker is held")
	require.NotContains(t, log, worker)
	require.Contains(t, o.does("logs"), worker)

	require.Equal(t, held+"\n", o.does("rm", held))
	require.NotContains(t, o.states(), held)
	require.Contains(t, o.does("ps", "--ended"), "removed by the operator")
	require.Contains(t, o.fails(1, "rm", held), "no such worker")
	require.Contains(t, o.fails(1, "ssh", held), "no such worker")
	require.Contains(t, o.fails(2, "ssh", "../../x"), "is not the id of a worker")

	o.does("hold", worker)
	require.Equal(t, "running", o.states()[worker][0])
	pid := runner.PluginPID(t, stateDir)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { return !runner.Alive(pid) }, soon, 20*time.Millisecond)
	require.Contains(t, o.fails(1, "hold", worker), "no plugin process serves the pool")
	require.Contains(t, o.fails(255, "ssh", worker, "true"), worker)
	require.Equal(t, worker+"\n", o.does("rm", worker), "as gc does")
	_, err = os.Stat(filepath.Join(stateDir, "pools", "default", "workers", worker))
	require.ErrorIs(t, err, os.ErrNotExist)
}
