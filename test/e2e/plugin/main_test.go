package plugin

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// soon is how long a test waits for what should take moments, and may take the
// plugin a minute: as long as it takes to remove its workers.
const soon = 2 * time.Minute

// binary is the program, built once for all tests. patient is it, too, but for
// a process between: the plugin library kills that one, two seconds after it has
// hung up, and not the plugin, whose workers may take longer on a busy machine.
var binary, patient string

// TestMain also plays the runner, for tests that need one that they can kill.
func TestMain(m *testing.M) {
	if runner.Play() {
		return
	}
	os.Exit(withBinary(m.Run))
}

func withBinary(run func() int) int {
	dir, err := os.MkdirTemp("", "mayfly-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary, err = testrun.Build(dir); err == nil {
		patient = filepath.Join(dir, "patient")
		err = os.WriteFile(patient, []byte("#!/bin/sh\n'"+binary+"'\nexit $?\n"), 0o700)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

// shortDir is a directory whose path leaves room for those of sockets, which
// that of t.TempDir, with the test's name in it, does not.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mayfly-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// pluginConfig is synthetic workers below a state directory.
func pluginConfig(stateDir string) map[string]any {
	return map[string]any{"backend": "synthetic", "state_dir": stateDir}
}

// start starts a plugin process that the test's end kills.
func start(t *testing.T, config map[string]any, log hclog.Logger) *runner.Plugin {
	t.Helper()
	plugin, err := runner.Start(binary, config, log)
	require.NoError(t, err)
	t.Cleanup(plugin.Kill)
	return plugin
}

func startQuiet(t *testing.T, config map[string]any) *runner.Plugin {
	t.Helper()
	return start(t, config, hclog.NewNullLogger())
}

// requireNothingLeft fails when a plugin process, or anything that it made,
// is still there.
func requireNothingLeft(t *testing.T, stateDir string) {
	t.Helper()
	require.Empty(t, runner.WorkerDirs(t, stateDir), "worker directories")
	requirePluginEnds(t, stateDir)
}

func requirePluginEnds(t *testing.T, stateDir string) {
	t.Helper()
	pid := runner.PluginPID(t, stateDir)
	require.Eventually(t, func() bool { return !runner.Alive(pid) }, soon, 20*time.Millisecond, "the plugin process")
}
