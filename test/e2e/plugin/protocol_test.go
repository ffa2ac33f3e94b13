package plugin

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting/integration"
	"gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
)

// The library's own test of plugins.
func TestProvisioning(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	integration.TestProvisioning(t, binary, integration.Config{
		PluginConfig:    pluginConfig(stateDir),
		ConnectorConfig: provider.ConnectorConfig{Timeout: time.Minute},
		MaxInstances:    3,
		UseExternalAddr: true,
	})
	requireNothingLeft(t, stateDir)
}

// Only lines of hclog's form keep their level and fields on the way.
func TestLogReachesTheRunnerWithLevelAndFields(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	plugin := start(t, pluginConfig(shortDir(t)), hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: &log}))
	require.NoError(t, plugin.Initialise(t.Context()))
	require.NoError(t, plugin.Stop(t.Context())) // and nobody writes to the log any more
	require.Regexp(t, `\[INFO\] .*golden image is wanted: image=[0-9a-f]{32}`, log.String())
}

func TestWrongConfigurationIsReportedWhole(t *testing.T) {
	t.Parallel()
	config := pluginConfig(shortDir(t))
	config["bakend"] = "qemu"
	config["machine"] = map[string]any{"cpus": 0, "memory": "much"}
	config["network"] = map[string]any{"subnet": "10.0.0.0/31"}
	err := startQuiet(t, config).Initialise(t.Context())
	require.ErrorContains(t, err, "unmarshaling config: ")
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 4, "%s", err)
	for i, path := range []string{"bakend", "machine.cpus", "machine.memory", "network.subnet"} {
		require.Contains(t, lines[i], "plugin_config."+path+": ")
	}
}

// A failed Init is tried again in a new process, beside the old one.
func TestSecondPluginOnThePoolSaysWhoHasIt(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits half a minute for the lock")
	}
	stateDir := shortDir(t)
	first := startQuiet(t, pluginConfig(stateDir))
	require.NoError(t, first.Initialise(t.Context()))
	err := startQuiet(t, pluginConfig(stateDir)).Initialise(t.Context())
	require.ErrorContains(t, err, `pool "default"`)
	require.ErrorContains(t, err, "held by another plugin process")
	require.NoError(t, first.Shutdown(t.Context()))
}

func TestRunnerThatIsKilledTakesItsWorkersAlong(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	killed := startWorking(t, binary, stateDir)
	require.True(t, runner.Alive(runner.PluginPID(t, stateDir)))
	killed.Kill()
	requirePluginEnds(t, stateDir)
	requireNothingLeft(t, stateDir)
}

func TestRunnerThatHangsUpWithoutShutdownTakesItsWorkersAlong(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	startWorking(t, patient, stateDir).Tell("hang up")
	requirePluginEnds(t, stateDir)
	requireNothingLeft(t, stateDir)
}

func TestSignalsToTheGroupDoNotEndThePluginBeforeTheRunner(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	draining := startWorking(t, binary, stateDir)
	pid := runner.PluginPID(t, stateDir)
	for range 2 { // who is impatient sends them again
		draining.SignalGroup(syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGINT)
		draining.Tell("grow 1")
		draining.Tell("work")
		require.True(t, runner.Alive(pid))
	}
	draining.Tell("hang up")
	requirePluginEnds(t, stateDir)
}

// startWorking starts a process that plays the runner, with a plugin whose worker
// has run a job.
func startWorking(t *testing.T, program, stateDir string) *runner.Process {
	t.Helper()
	process := runner.StartProcess(t, program, pluginConfig(stateDir))
	process.Tell("grow 1")
	process.Tell("work")
	return process
}
