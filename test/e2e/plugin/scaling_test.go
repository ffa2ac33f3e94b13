package plugin

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Ten jobs, each on a worker of its own, three workers at a time: the runner's
// own scaling loop in front of the plugin.
func TestTenTasksOnWorkersOfTheirOwn(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	plugin := startQuiet(t, pluginConfig(stateDir))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tasks, err := plugin.RunTasks(ctx, 10, 3, func(n int) string { return fmt.Sprintf("echo task-%d", n) })
	require.NoError(t, err)
	plugin.Kill()
	used := make(map[string]bool)
	for n, task := range tasks {
		require.NoError(t, task.Err)
		require.Equal(t, fmt.Sprintf("task-%d\n", n), task.Stdout)
		require.False(t, used[task.Worker], "%s was used twice", task.Worker)
		used[task.Worker] = true
	}
	requireNothingLeft(t, stateDir)
}
