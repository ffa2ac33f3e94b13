package plugin

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
)

// Nobody is left then to end the job, and it does not notice that nobody listens.
func TestJobsEndWithAPluginThatIsKilled(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	plugin := startQuiet(t, pluginConfig(stateDir))
	require.NoError(t, plugin.Initialise(t.Context()))
	require.NoError(t, plugin.Grow(t.Context(), 1))
	ids, err := plugin.AwaitRunning(t.Context())
	require.NoError(t, err)
	begun := filepath.Join(shortDir(t), "pids")
	go func() {
		const job = "(while sleep 0.1; do :; done) & echo $$ $! >%[1]s.part; mv %[1]s.part %[1]s; wait"
		_, _ = plugin.Run(t.Context(), ids[0], fmt.Sprintf(job, begun))
	}()
	var text []byte
	require.Eventually(t, func() bool {
		text, err = os.ReadFile(begun)
		return err == nil
	}, soon, 20*time.Millisecond, "the begin of the job")
	require.NoError(t, syscall.Kill(runner.PluginPID(t, stateDir), syscall.SIGKILL))
	for word := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(word)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return !runner.Alive(pid) }, soon, 20*time.Millisecond, "process %d", pid)
	}
}
