//go:build linux

package machines

import (
	"crypto/sha256"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
)

// TestAHeldMachineIsDebuggedInForksOfItsMemory has a job that fails beside a process that
// goes on. Three shells, one after the other, find that process where it was, and the files
// as the job left them; what they do is gone with them.
func TestAHeldMachineIsDebuggedInForksOfItsMemory(t *testing.T) {
	s := begin(t)
	config := maps.Clone(pluginConfig())
	config["hold"] = map[string]any{"on": "failed", "for": "1h", "max": 1}
	log := hclog.New(&hclog.LoggerOptions{Name: t.Name(), Level: hclog.Info, Output: os.Stderr})
	plugin, err := runner.Start(s.binary, config, log)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, plugin.Stop(patiently(t))) })
	require.NoError(t, plugin.Initialise(t.Context()))
	id := grow(t, plugin, 1)[0]
	began, err := plugin.Run(patiently(t), id, count+"; echo evidence >proof; sync; echo job 17 >~/mayfly-hold; exit 1")
	require.Error(t, err)
	pid := strings.TrimSpace(began)
	_, err = plugin.Decrease(t.Context(), []string{id})
	require.NoError(t, err)
	require.NoError(t, plugin.AwaitDeleted(patiently(t), id))
	require.Equal(t, "held", s.state(t, id))
	require.Equal(t, "evidence\n", string(s.command(t, "ssh", "--config", configFile(), id, "cat", "proof")))

	var first string
	for n := range 3 {
		seen := s.command(t, "debug", "--config", configFile(), id, "kill -0 "+pid+" && hostname && cat proof && "+
			"echo touched >>proof && ls && touch by-this-shell && tr '\\0' ' ' </proc/"+pid+"/cmdline")
		require.Contains(t, string(seen), id+"\nevidence\n")
		require.NotContains(t, string(seen), "by-this-shell", "nor anything of the shell before")
		require.Contains(t, string(seen), "n=0; while")
		if n == 0 {
			first = s.savedHash(t, id)
			continue
		}
		require.Equal(t, first, s.savedHash(t, id), "shell %d has changed what was saved", n)
	}
	require.Equal(t, "held", s.state(t, id))
	require.Equal(t, id+"\n", string(s.command(t, "rm", "--config", configFile(), id)))
	require.Empty(t, s.list(t))
}

// state is that of a worker by ps.
func (s shared) state(t *testing.T, id string) string {
	t.Helper()
	for _, worker := range s.list(t) {
		if worker.ID == id {
			return worker.State
		}
	}
	return "gone"
}

// savedHash is that of the memory and of the disk of a machine that was saved.
func (s shared) savedHash(t *testing.T, id string) string {
	t.Helper()
	sum := sha256.New()
	for _, name := range []string{"state", "disk"} {
		file, err := os.Open(filepath.Join(stateDir(), "pools", poolName(), "workers", id, name))
		require.NoError(t, err)
		n, err := io.Copy(sum, file)
		require.NoError(t, err)
		require.Positive(t, n, name)
		require.NoError(t, file.Close())
	}
	return string(sum.Sum(nil))
}
