//go:build linux

package vmm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// saved is the recipe of an image that a shell leaves in a clone of the bench's.
func (b *bench) saved() image.Recipe {
	b.golden.Root = "root=/dev/vda"
	return image.SavedRecipe(image.Recipe{User: "mayfly", Disk: 1 << 16}, "tools", time.Now())
}

func TestAWorkerIsSavedAsABuildEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	recipe := b.saved()
	require.NoError(t, os.WriteFile(b.golden.Kernel(), []byte("kernel"), 0o600))
	m, _ := b.start(t, b.spec(t, "save"))
	require.Equal(t, "launch, boot, rekey", b.driver.noted())
	saved, err := b.Save(t.Context(), b.golden, m.ID(), recipe, func(string, string) {})
	require.NoError(t, err)
	require.Equal(t, "network, seal, poweroff", b.driver.noted())
	<-m.Done()
	require.Equal(t, recipe.Digest(), saved.Digest)
	require.True(t, saved.ByHand())
	require.Equal(t, b.golden.Root, saved.Root)
	kernel, err := os.ReadFile(saved.Kernel())
	require.NoError(t, err)
	require.Equal(t, "kernel", string(kernel))
	info, err := os.Stat(saved.Disk())
	require.NoError(t, err)
	require.EqualValues(t, 1<<16, info.Size(), "a whole disk, whatever the worker's was")
	require.FileExists(t, filepath.Join(saved.Dir, buildLog))
}

func TestAWorkerThatCannotBeSavedLeavesNoImage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	recipe := b.saved()
	m, _ := b.start(t, b.spec(t, "save"))
	b.driver.fail(guest.OpSeal, errors.New("no space left"))
	_, err := b.Save(t.Context(), b.golden, m.ID(), recipe, func(string, string) {})
	require.ErrorContains(t, err, "sealing the image")
	require.ErrorContains(t, err, "no space left")
	left, err := filepath.Glob(filepath.Join(b.dir, "images", "[.0-9a-f]*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(b.dir, "images", ".lock-"+recipe.Digest())}, left)
	_, err = b.Save(t.Context(), b.golden, "p-otheraaa", recipe, func(string, string) {})
	require.ErrorContains(t, err, "no such worker")
}

// A sealed disk would start the agent of a worker.
func TestABuildThatGoesOnFromASavedImageBootsItAsOneThatIsBuilt(t *testing.T) {
	_, driver, b, recipe := builder(t)
	of := image.SavedRecipe(recipe, "tools", time.Now())
	saved, err := b.images().Build(t.Context(), of, func(_ context.Context, work string) (root string, err error) {
		golden := image.Golden{Dir: work}
		for _, path := range []string{golden.Disk(), golden.Kernel(), golden.Initrd()} {
			err = errors.Join(err, os.WriteFile(path, make([]byte, 1<<16), 0o600))
		}
		return "root=/dev/vda", err
	})
	require.NoError(t, err)
	recipe.Source, recipe.Run = saved.Recipe.Source, []string{"echo another; exit 7"}
	_, err = b.Build(t.Context(), recipe, func(string, string) {})
	require.ErrorContains(t, err, "exit code 7")
	require.Equal(t, "launch, boot, network", driver.noted(), "its first boot is behind it")
	require.Equal(t, guest.BuildArguments, driver.launched.KernelArguments)
	require.Equal(t, "root=/dev/vda", driver.launched.Root)
	require.False(t, driver.launched.UEFI, "its kernel is booted")
	layers, err := filepath.Glob(filepath.Join(b.options.ImagesDir, "layers", "[0-9a-f]*"))
	require.NoError(t, err)
	require.Empty(t, layers, "the base is the saved image")

	recipe.User = "ci"
	_, err = b.Build(t.Context(), recipe, func(string, string) {})
	require.ErrorContains(t, err, `connector_config.username to "mayfly"`)
}
