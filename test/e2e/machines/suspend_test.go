//go:build linux

package machines

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting"
	"gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
)

// count is a process that goes on when its job has ended.
const count = `nohup sh -c 'n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done' >numbers 2>/dev/null </dev/null & echo $!`

// A worker that one plugin process has suspended is resumed by the next, which
// the library's provisioner drives.
func TestSuspendedWorkerOutlivesItsPlugin(t *testing.T) {
	s := begin(t)
	first := s.launch(t)
	require.NoError(t, first.Initialise(t.Context()))
	ids := grow(t, first, 1)
	id := ids[0]
	before, err := first.ConnectInfo(t.Context(), id)
	require.NoError(t, err)
	output, err := first.Run(patiently(t), id, count)
	require.NoError(t, err)
	pid := strings.TrimSpace(output)

	unknown := poolName() + "-unknown2"
	accepted, err := first.Suspend(t.Context(), []string{id, unknown})
	require.Equal(t, []string{id}, accepted)
	require.ErrorContains(t, err, unknown, "an error comes beside the workers that will be")
	require.NoError(t, first.AwaitState(patiently(t), id, provider.StateSuspended))
	require.NoError(t, first.Stop(patiently(t)))
	requireSuspended(t, s, id)

	second := s.start(t)
	provisioner := s.provision(t, second)
	require.True(t, provisioner.HasCapability(provider.CapabilitySuspendResume))
	states, err := second.States(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]provider.State{id: provider.StateSuspended}, states)
	require.NoError(t, provisioner.ResumeAndWait(patiently(t), []string{id}))
	after, err := second.ConnectInfo(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, before.InternalAddr, after.InternalAddr)
	require.Equal(t, before.Key, after.Key)

	requireCounting(t, second, id, pid)
	_, err = second.Decrease(t.Context(), ids)
	require.NoError(t, err)
	require.NoError(t, second.AwaitDeleted(patiently(t), id))
}

// requireSuspended holds that a directory, an address and a part of the budget are all
// that is left of a suspended worker, and that nobody takes them for rubbish.
func requireSuspended(t *testing.T, s shared, id string) {
	t.Helper()
	requireNothingLeft(t, id)
	var swept []struct {
		Suspended []string `json:"suspended"`
		LeftOver  []string `json:"left_over"`
	}
	require.NoError(t, json.Unmarshal(s.command(t, "gc", "--json", "--state-dir", stateDir()), &swept))
	found := false
	for _, pool := range swept {
		require.Empty(t, pool.LeftOver)
		found = found || len(pool.Suspended) == 1 && pool.Suspended[0] == id
	}
	require.True(t, found, swept)
	state := filepath.Join(stateDir(), "pools", poolName(), "workers", id, "state")
	info, err := os.Stat(state)
	require.NoError(t, err)
	require.Greater(t, info.Size(), int64(10<<20), "its memory is there")
}

// provision is the library's half of a runner, in front of a plugin that is
// not initialised yet.
func (s shared) provision(t *testing.T, plugin *runner.Plugin) *fleeting.Provisioner {
	t.Helper()
	provisioner, err := fleeting.Init(patiently(t), hclog.NewNullLogger(), plugin.InstanceGroup,
		fleeting.WithMaxSize(3), fleeting.WithUpdateIntervalWhenExpecting(250*time.Millisecond))
	require.NoError(t, err)
	return provisioner
}

// requireCounting holds that the same process goes on, that no number is
// missing, and that the guest's clock is the host's.
func requireCounting(t *testing.T, plugin *runner.Plugin, id, pid string) {
	t.Helper()
	asked := time.Now()
	output, err := plugin.Run(patiently(t), id, "kill -0 "+pid+" && date +%s && cat numbers")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(output), "\n")
	now, err := strconv.ParseInt(lines[0], 10, 64)
	require.NoError(t, err)
	require.GreaterOrEqual(t, now, asked.Unix()-1)
	require.LessOrEqual(t, now, time.Now().Unix()+1)
	for i, line := range lines[1:] {
		require.Equal(t, strconv.Itoa(i+1), line)
	}
}
