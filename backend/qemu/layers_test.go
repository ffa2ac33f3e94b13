//go:build linux

package qemu

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// TestAChangedLastStepCostsABootAndThatStep goes on from a layer of the golden image
// that all tests share, with a real machine.
func TestAChangedLastStepCostsABootAndThatStep(t *testing.T) {
	sandbox.Need(t, "e2fsck")
	f := forks{world: newWorld(t, "layers"), size: forkSize, patience: testrun.Patience(t)}
	f.options.Fork = false // a clone is what shows what is in the image
	f.Backend = f.again()
	require.NoError(t, f.network.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, f.network.Close(context.Background())) })
	recipe := testrun.Golden(t, imagesDir())
	testrun.Layers(t, imagesDir())
	whole, found, err := cache.New(imagesDir()).Get(recipe.Digest())
	require.NoError(t, err)
	require.True(t, found)

	// What a step leaves running must not write while its state is copied.
	const last = "echo c: d >/etc/mayfly-last; (while :; do date >/var/lib/mayfly-busy; sync; done >/dev/null 2>&1 &)"
	recipe.Run = slices.Concat(recipe.Run[:len(recipe.Run)-1], []string{last})
	t.Setenv(testrun.SecretVariable, testrun.Secret)
	var shown []string
	f.golden, err = f.Build(t.Context(), recipe, func(stage, line string) { shown = append(shown, stage+": "+line) })
	require.NoError(t, err, strings.Join(shown, "\n"))
	t.Logf("all of it took %.1f s, the last step %.1f s", whole.BuiltSeconds, f.golden.BuiltSeconds)
	require.NotEmpty(t, f.golden.Layer)
	require.Len(t, f.golden.Steps, 1+len(recipe.Run))
	for i, step := range f.golden.Steps {
		require.Equal(t, i < len(recipe.Run), step.Cached, step.Name)
	}
	require.NotContains(t, strings.Join(shown, "\n"), "step 4 of 5")
	require.NotContains(t, strings.Join(shown, "\n"), "layer: not kept")
	for _, path := range layerDisks(t) {
		out, err := exec.Command("e2fsck", "-f", "-n", path).CombinedOutput()
		require.NoError(t, err, "a layer is not of one moment: %s", out)
	}

	w, err := f.start(t, 0)
	require.NoError(t, err)
	out, err := w.Run("cat /etc/mayfly-step /etc/mayfly-last; sudo -n id -u; ls /etc/systemd/system/*.wants | grep build")
	require.Error(t, err, "no boot of a worker starts the agent of a build")
	require.Equal(t, "a: b\nc: d\n0\n", out)
}

// layerDisks are the disks of all layers that are made from packages, which are file systems.
func layerDisks(t *testing.T) (disks []string) {
	t.Helper()
	layers, err := cache.New(filepath.Join(imagesDir(), "layers")).List()
	require.NoError(t, err)
	for _, layer := range layers {
		if layer.Recipe.Source.Kind == image.Debootstrap {
			disks = append(disks, layer.Disk())
		}
	}
	require.GreaterOrEqual(t, len(disks), 4, "those of the golden image, and that of the new step")
	return disks
}
