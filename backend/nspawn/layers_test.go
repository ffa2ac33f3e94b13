//go:build linux

package nspawn

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// layersOf takes the layers of the build that the tests share to another file system,
// and returns how long that build took.
func layersOf(t *testing.T, p *pool, recipe image.Recipe) (whole float64) {
	t.Helper()
	golden, found, err := cache.New(filepath.Join(btrfsDir(), "images")).Get(recipe.Digest())
	require.NoError(t, err)
	require.True(t, found)
	t.Setenv(testrun.SecretVariable, testrun.Secret)
	to := filepath.Join(p.state, "images", "layers")
	if _, err := os.Stat(to); os.IsNotExist(err) {
		require.NoError(t, run("cp", "-a", filepath.Join(btrfsDir(), "images", "layers"), to))
	}
	require.NoError(t, p.network.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, p.network.Close(context.Background())) })
	return golden.BuiltSeconds
}

// TestAChangedLastStepCostsThatStep has a real container, on a file system with reflinks: on
// one without, copies of layers take a minute.
func TestAChangedLastStepCostsThatStep(t *testing.T) {
	p, recipe := newPool(t, btrfsDir, "layers")
	whole := layersOf(t, p, recipe)
	// What a step leaves running must not write while its state is copied.
	const last = "echo c: d > /etc/mayfly-last; (while :; do date >/var/lib/mayfly-busy; done >/dev/null 2>&1 &)"
	recipe.Run = slices.Concat(recipe.Run[:len(recipe.Run)-1], []string{last})
	var shown []string
	golden, err := p.Build(t.Context(), recipe, func(stage, line string) { shown = append(shown, stage+": "+line) })
	require.NoError(t, err)
	t.Logf("all of it took %.1f s, the last step %.1f s", whole, golden.BuiltSeconds)
	require.NotEmpty(t, golden.Layer)
	require.Len(t, golden.Steps, 1+len(recipe.Run))
	for i, step := range golden.Steps {
		require.Equal(t, i < len(recipe.Run), step.Cached, step.Name)
		require.Positive(t, step.Seconds)
	}
	require.Contains(t, shown, "step 5 of 5: $ "+last)
	require.NotContains(t, strings.Join(shown, "\n"), "step 4 of 5")
	require.NotContains(t, strings.Join(shown, "\n"), "layer: not kept")
	for file, want := range map[string]string{"mayfly-step": "a: b\n", "mayfly-last": "c: d\n"} {
		text, err := os.ReadFile(filepath.Join(golden.Tree(), "etc", file))
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}

	worker := p.startFrom(t, golden, "aaaaaaaa")
	require.Equal(t, "0\n", worker.Output(t, "sudo -n id -u"))
	require.Equal(t, "c: d\n", worker.Output(t, "cat /etc/mayfly-last"))
}

// TestAnUpdateOfTheProgramCostsNoStep has another binary for an agent.
func TestAnUpdateOfTheProgramCostsNoStep(t *testing.T) {
	p, recipe := newPool(t, btrfsDir, "update")
	layersOf(t, p, recipe)
	text, err := os.ReadFile(recipe.Agent)
	require.NoError(t, err)
	recipe.Agent, recipe.AgentSHA256 = filepath.Join(t.TempDir(), "agent"), "of another"
	require.NoError(t, os.WriteFile(recipe.Agent, append(text, "an update"...), 0o755))
	golden, err := p.Build(t.Context(), recipe, func(stage, _ string) { require.NotContains(t, stage, "step ") })
	require.NoError(t, err)
	for _, step := range golden.Steps {
		require.True(t, step.Cached, step.Name)
	}
	installed, err := os.ReadFile(filepath.Join(golden.Tree(), "usr/local/lib/mayfly/agent"))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(installed), "an update"))
	var owner unix.Stat_t
	require.NoError(t, unix.Stat(filepath.Join(golden.Tree(), "usr/local/lib/mayfly/agent"), &owner))
	require.EqualValues(t, image.ShiftedBase, owner.Uid)
}
