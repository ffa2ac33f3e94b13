//go:build linux

package nspawn

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// The program runs jobs in containers through the plugin's protocol, as a
// runner would, and leaves nothing. The times are shown, and held to nothing:
// hosts differ.
func TestTryRunsFiveJobs(t *testing.T) {
	for name, dir := range fileSystems {
		t.Run(name, func(t *testing.T) {
			p, recipe := newPool(t, dir, "shared")
			s, err := share()
			require.NoError(t, err)
			command := exec.CommandContext(t.Context(), s.binary, "try", "--json", "--jobs", "5",
				"--config", s.config, "--state-dir", p.state, "--",
				"cat /etc/machine-id; hostname; sudo -n id -u; cat /etc/mayfly-step; "+
					"ip -6 -o address show dev eth0 scope global | awk '{print $4}'; ip -6 route show default | awk '{print $3}'")
			command.Stderr = os.Stderr
			out, err := command.Output()
			require.NoError(t, err, string(out))
			var outcome struct {
				Backend  string
				Image    struct{ Digest string }
				LeftOver []string `json:"left_over"`
				Jobs     []struct {
					Worker, Stdout string
					ExitCode       int     `json:"exit_code"`
					ReadySeconds   float64 `json:"ready_seconds"`
				}
			}
			require.NoError(t, json.Unmarshal(out, &outcome))
			require.Equal(t, "nspawn", outcome.Backend)
			require.Equal(t, recipe.Digest(), outcome.Image.Digest)
			require.Empty(t, outcome.LeftOver)
			require.Len(t, outcome.Jobs, 5)
			for _, job := range outcome.Jobs {
				t.Logf("%s ready after %.1f s", job.Worker, job.ReadySeconds)
				require.Zero(t, job.ExitCode)
				require.Regexp(t, "^[0-9a-f]{32}\n"+job.Worker+"\n0\na: b\n"+network.Guest6.String()+"\n"+network.Gateway6.String()+"\n$", job.Stdout)
			}
			requireNoTrace(t, p)
		})
	}
}

// The sweep asks every backend, whichever the configuration names.
func TestSweepFindsContainersOfAPoolThatNamesNone(t *testing.T) {
	p, recipe := newPool(t, ext4Dir, "swept")
	s, err := share()
	require.NoError(t, err)
	w := p.start(t, recipe, "aaaaaaaa")
	out, err := exec.CommandContext(t.Context(), s.binary, "gc", "--state-dir", p.state).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "machine "+w.ID())
	<-w.Done()
	requireNothingLeft(t, p)
}

// requireNoTrace looks at the host with no help of the backend.
func requireNoTrace(t *testing.T, p *pool) {
	t.Helper()
	requireNothingLeft(t, p)
	namespaces, err := os.ReadDir("/run/netns")
	require.NoError(t, err)
	require.Empty(t, namespaces)
	hierarchies, err := cgroup.Hierarchies()
	require.NoError(t, err)
	groups, err := cgroup.List(hierarchies, process.Slice)
	require.NoError(t, err)
	for _, group := range groups { // others may run containers beside us
		require.NotContains(t, group, "-try-")
	}
	directories, err := filepath.Glob(filepath.Join(p.state, "pools", "*", "workers", "*"))
	require.NoError(t, err)
	require.Empty(t, directories)
	running, err := process.Find(func([]string) bool { return true })
	require.NoError(t, err)
	for _, arguments := range running {
		for _, argument := range arguments {
			require.NotContains(t, argument, directoryOption+p.state)
		}
	}
}
