//go:build linux

package machines

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting/integration"
	"gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// The library's own test of plugins. It runs its command only on workers that
// happen to run when it gets there, so the same is then done on one that does.
// Its workers are clones; those of all other tests are forks.
func TestProvisioning(t *testing.T) {
	s := begin(t)
	integration.TestProvisioning(t, s.binary, integration.Config{
		PluginConfig:    clones(),
		ConnectorConfig: provider.ConnectorConfig{Timeout: time.Minute},
		MaxInstances:    3,
		UseExternalAddr: true,
	})
	requireNothingLeft(t)

	plugin, ids := s.startWith(t, 1)
	info, err := plugin.ConnectInfo(t.Context(), ids[0])
	require.NoError(t, err)
	require.Equal(t, user, info.Username)
	require.Equal(t, info.InternalAddr, info.ExternalAddr)
	said, err := plugin.Run(patiently(t), ids[0], identify)
	require.NoError(t, err)
	requireIdentity(t, ids[0], said)
}

// clonesPool is a pool without forks, which would discard the template of another.
func clonesPool() string { return poolName() + "-clones" }

// clones is a configuration whose workers all boot.
func clones() map[string]any {
	config := pluginConfig()
	config["pool"] = clonesPool()
	config["fork"] = map[string]any{"enabled": false}
	return config
}

// Ten jobs, each on a machine of its own, three machines at a time: the
// runner's own scaling loop in front of the plugin.
func TestTenTasksOnMachinesOfTheirOwn(t *testing.T) {
	s := begin(t)
	const count, atOnce = 10, 3
	ctx, cancel := context.WithTimeout(t.Context(), (count/atOnce+1)*testrun.Patience(t))
	defer cancel()
	tasks, err := s.start(t).RunTasks(ctx, count, atOnce, func(int) string { return identify })
	require.NoError(t, err)
	used := make(map[string]bool)
	for _, task := range tasks {
		require.NoError(t, task.Err)
		requireIdentity(t, task.Worker, task.Stdout)
		require.False(t, used[task.Worker], "%s was used twice", task.Worker)
		used[task.Worker] = true
	}
}
