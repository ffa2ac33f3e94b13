package plugin

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting"
	"gitlab.com/gitlab-org/fleeting/fleeting/connector"
	"gitlab.com/gitlab-org/fleeting/taskscaler"
)

// Ten jobs, each on a worker of its own, three workers at a time: the runner's
// own scaling loop in front of the plugin.
func TestTenTasksOnWorkersOfTheirOwn(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	process, err := fleeting.RunPlugin(binary, configJSON(t, pluginConfig(stateDir)),
		fleeting.WithPluginLogger(hclog.NewNullLogger()))
	require.NoError(t, err)
	defer process.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	scaler, err := taskscaler.New(ctx, process.InstanceGroup(),
		taskscaler.WithLogger(hclog.NewNullLogger()),
		taskscaler.WithMaxInstances(3),
		taskscaler.WithCapacityPerInstance(1),
		taskscaler.WithMaxUseCount(1),
		taskscaler.WithAcquireDelay(50*time.Millisecond),
		taskscaler.WithUpdateInterval(time.Second),
		taskscaler.WithUpdateIntervalWhenExpecting(50*time.Millisecond),
		taskscaler.WithShutdownDeletionInterval(50*time.Millisecond),
		taskscaler.WithDeleteInstancesOnShutdown(),
	)
	require.NoError(t, err)

	var tasks sync.WaitGroup
	workers, errs := make([]string, 10), make([]error, 10)
	for n := range 10 {
		tasks.Go(func() { workers[n], errs[n] = task(ctx, scaler, fmt.Sprintf("task-%d", n)) })
	}
	tasks.Wait()
	used := make(map[string]bool)
	for n := range 10 {
		require.NoError(t, errs[n])
		require.False(t, used[workers[n]], "%s was used twice", workers[n])
		used[workers[n]] = true
	}
	scaler.Shutdown(ctx)
	process.Kill()
	requireNothingLeft(t, stateDir)
}

func task(ctx context.Context, scaler taskscaler.Taskscaler, key string) (worker string, err error) {
	acquisition, err := scaler.Acquire(ctx, key)
	if err != nil {
		return "", err
	}
	defer scaler.Release(key)
	info, err := acquisition.InstanceConnectInfo(ctx)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = connector.Run(ctx, info, connector.ConnectorOptions{
		RunOptions: connector.RunOptions{Command: "echo " + key, Stdout: &out},
	})
	if err == nil && out.String() != key+"\n" {
		err = fmt.Errorf("%s said %q", key, out.String())
	}
	return acquisition.InstanceID(), err
}
