package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// upgraded is set in a process whose program is to be replaced while it runs.
const upgraded = "MAYFLY_TEST_UPGRADED"

// TestAgentIsTheProgramThatRuns has a copy of the test's program replaced, as an upgrade
// does, and asks it then for the agent of its images.
func TestAgentIsTheProgramThatRuns(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	if os.Getenv(upgraded) != "" {
		require.NoError(t, os.Remove(self))
		require.NoError(t, os.WriteFile(self, []byte("a newer program"), 0o755))
		recipe, err := recipeOf(config.Default(), "ci")
		require.NoError(t, err)
		read, err := sum(recipe.Agent)
		require.NoError(t, err)
		require.Equal(t, recipe.AgentSHA256, read)
		fmt.Println(read)
		return
	}
	text, err := os.ReadFile(self)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, text, 0o755))
	want, err := sum(path)
	require.NoError(t, err)
	replaced := exec.Command(path, "-test.run=^TestAgentIsTheProgramThatRuns$")
	replaced.Env = append(os.Environ(), upgraded+"=yes")
	out, err := replaced.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), want)
	newer, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "a newer program", string(newer))
}
