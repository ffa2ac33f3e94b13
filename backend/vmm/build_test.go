//go:build linux

package vmm

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// TestFailingStepFailsTheBuildAndLeavesNothing has an agent that is played: what
// a real one does with a step, and that a real machine ends, is tested elsewhere.
func TestFailingStepFailsTheBuildAndLeavesNothing(t *testing.T) {
	state := t.TempDir()
	blank := filepath.Join(state, "blank.raw")
	require.NoError(t, os.WriteFile(blank, append(make([]byte, 510), 0x55, 0xaa), 0o600))
	require.NoError(t, os.Truncate(blank, 1<<20))
	agent := filepath.Join(state, "agent")
	require.NoError(t, os.WriteFile(agent, []byte("agent"), 0o600))
	recipe := image.Recipe{
		Source: image.Source{Kind: image.Local, Location: blank}, User: "mayfly", Disk: 1 << 20, Agent: agent,
		Run: []string{"echo first", "echo the reason; exit 7"},
	}
	driver := &played{}
	b := New(driver, Options{
		Pool: "p", WorkersDir: filepath.Join(state, "workers"),
		ImagesDir: filepath.Join(state, "images"), StateDir: state,
		Network: network.None{}, Log: slog.New(slog.DiscardHandler),
	})
	_, err := b.Build(t.Context(), recipe, func(string, string) {})
	for _, want := range []string{
		"step 2 of 2", "image.run[1]", "exit code 7", "the reason", "last lines of the console", "what the console said",
	} {
		require.ErrorContains(t, err, want)
	}
	require.Contains(t, driver.noted(), "launch, boot, ")
	require.Empty(t, b.machines)
	machines, err := b.Find(t.Context())
	require.NoError(t, err)
	require.Empty(t, machines)
	for _, pattern := range []string{"images/[0-9a-f]*", "images/.building-*", "workers/*"} {
		left, err := filepath.Glob(filepath.Join(state, pattern))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}
