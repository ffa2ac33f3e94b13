package plugin

import (
	"bytes"
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting"
	"gitlab.com/gitlab-org/fleeting/fleeting/integration"
	"gitlab.com/gitlab-org/fleeting/fleeting/provider"
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

// run starts a plugin process that the test's end kills.
func run(t *testing.T, config []byte) provider.InstanceGroup {
	t.Helper()
	process, err := fleeting.RunPlugin(binary, config, fleeting.WithPluginLogger(hclog.NewNullLogger()))
	require.NoError(t, err)
	t.Cleanup(process.Kill)
	return process.InstanceGroup()
}

func initialise(t *testing.T, group provider.InstanceGroup) (provider.ProviderInfo, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return group.Init(ctx, hclog.NewNullLogger(), provider.Settings{})
}

// Only lines of hclog's form keep their level and fields on the way.
func TestLogReachesTheRunnerWithLevelAndFields(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	process, err := fleeting.RunPlugin(binary, configJSON(t, pluginConfig(shortDir(t))),
		fleeting.WithPluginLogger(hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: &log})))
	require.NoError(t, err)
	_, err = initialise(t, process.InstanceGroup())
	require.NoError(t, err)
	require.NoError(t, process.InstanceGroup().Shutdown(t.Context()))
	process.Kill() // and nobody writes to the log any more
	require.Regexp(t, `\[INFO\] .*golden image is wanted: image=[0-9a-f]{32}`, log.String())
}

func TestWrongConfigurationIsReportedWhole(t *testing.T) {
	t.Parallel()
	config := pluginConfig(shortDir(t))
	config["bakend"] = "qemu"
	config["machine"] = map[string]any{"cpus": 0, "memory": "much"}
	config["network"] = map[string]any{"subnet": "10.0.0.0/31"}
	_, err := initialise(t, run(t, configJSON(t, config)))
	require.Error(t, err)
	require.Contains(t, err.Error(), "unmarshaling config: ")
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
	config := configJSON(t, pluginConfig(stateDir))
	first := run(t, config)
	_, err := initialise(t, first)
	require.NoError(t, err)
	_, err = initialise(t, run(t, config))
	require.ErrorContains(t, err, `pool "default"`)
	require.ErrorContains(t, err, "held by another plugin process")
	require.NoError(t, first.Shutdown(t.Context()))
}

func TestRunnerThatIsKilledTakesItsWorkersAlong(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	runner := startRunner(t, stateDir)
	runner.tell("work")
	require.True(t, alive(pluginPID(t, stateDir)))
	require.NoError(t, runner.command.Process.Kill())
	_ = runner.command.Wait()
	requirePluginEnds(t, stateDir)
	requireNothingLeft(t, stateDir)
}

func TestRunnerThatHangsUpWithoutShutdownTakesItsWorkersAlong(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	runner := startRunner(t, stateDir)
	runner.tell("work")
	runner.tell("hang up")
	requirePluginEnds(t, stateDir)
	requireNothingLeft(t, stateDir)
}

func requirePluginEnds(t *testing.T, stateDir string) {
	t.Helper()
	pid := pluginPID(t, stateDir)
	require.Eventually(t, func() bool { return !alive(pid) }, soon, 20*time.Millisecond)
}

func TestSignalsToTheGroupDoNotEndThePluginBeforeTheRunner(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	runner := startRunner(t, stateDir)
	runner.tell("work")
	pid := pluginPID(t, stateDir)
	runner.signalGroup(syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGINT)
	runner.tell("work")
	require.True(t, alive(pid))
	runner.tell("hang up")
	requirePluginEnds(t, stateDir)
}
