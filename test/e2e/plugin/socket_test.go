package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
)

func TestPluginsLeaveNoSockets(t *testing.T) {
	stateDir, otherState, temporary := shortDir(t), shortDir(t), shortDir(t)
	t.Setenv("TMPDIR", temporary)
	other := runner.StartProcess(t, patient, pluginConfig(otherState))
	live := left(t, temporary)
	require.Len(t, live, 1)

	killed := startWorking(t, binary, stateDir)
	require.Len(t, left(t, temporary), 2)
	killed.Kill()
	requirePluginEnds(t, stateDir)
	require.Equal(t, live, left(t, temporary), "after a runner was killed")

	startWorking(t, binary, stateDir)
	require.NoError(t, syscall.Kill(runner.PluginPID(t, stateDir), syscall.SIGKILL))
	requirePluginEnds(t, stateDir)
	require.Len(t, left(t, temporary), 2, "nobody could remove the socket of a plugin that was killed")
	startWorking(t, patient, stateDir).Tell("hang up")
	requirePluginEnds(t, stateDir)
	require.Equal(t, live, left(t, temporary), "after another start, and the plugin's own end")

	other.Tell("grow 1")
	other.Tell("work")
	other.Tell("hang up")
	requirePluginEnds(t, otherState)
	require.Empty(t, left(t, temporary))
}

// left lists what there is in the directory of temporary files.
func left(t *testing.T, temporary string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(temporary, "*"))
	require.NoError(t, err)
	return paths
}

// A client that has a directory for the sockets looks for them there.
func TestPluginUsesTheSocketDirectoryOfItsClient(t *testing.T) {
	stateDir, chosen, temporary := shortDir(t), shortDir(t), shortDir(t)
	t.Setenv("TMPDIR", temporary)
	t.Setenv("PLUGIN_UNIX_SOCKET_DIR", chosen)
	process := startWorking(t, patient, stateDir)
	require.Len(t, left(t, chosen), 1)
	require.Empty(t, left(t, temporary))
	process.Tell("hang up")
	requirePluginEnds(t, stateDir)
	require.DirExists(t, chosen)
}

// Where there can be no directory of ours, the plugin serves without.
func TestPluginServesWhereNoSocketDirectoryFits(t *testing.T) {
	stateDir := shortDir(t)
	// Long enough for a socket in it, and not for one in a directory in it.
	short := shortDir(t)
	temporary := filepath.Join(short, strings.Repeat("x", 80-len(short)))
	require.NoError(t, os.Mkdir(temporary, 0o700))
	t.Setenv("TMPDIR", temporary)
	startWorking(t, patient, stateDir).Tell("hang up")
	requirePluginEnds(t, stateDir)
	require.Empty(t, left(t, temporary))
}
