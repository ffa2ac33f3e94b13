package testrun_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m, func() func() { return func() {} })) }

// TestGoldenImageIsSharedByHardLinks builds the golden image of the run. `make
// test` begins with it, so that other packages find the image there.
func TestGoldenImageIsSharedByHardLinks(t *testing.T) {
	sandbox.Need(t, "qemu-system-x86_64", "qemu-img", "mmdebstrap", "mkfs.ext4", "go")
	one, other := filepath.Join(t.TempDir(), "images"), filepath.Join(t.TempDir(), "images")
	recipe := testrun.Golden(t, one)
	require.Equal(t, recipe, testrun.Golden(t, one), "asking twice is no error")
	require.Equal(t, recipe, testrun.Golden(t, other))
	require.Equal(t, testrun.Steps, recipe.Run)
	first, found, err := cache.New(one).Get(recipe.Digest())
	require.NoError(t, err)
	require.True(t, found)
	second, _, err := cache.New(other).Get(recipe.Digest())
	require.NoError(t, err)
	require.Equal(t, inode(t, first.Disk()), inode(t, second.Disk()))
	require.NotEqual(t, first.Dir, second.Dir)
	require.Positive(t, testrun.Boot(t))
	require.GreaterOrEqual(t, testrun.Patience(t), 4*testrun.Boot(t))
}

// TestNothingOfAnImageHasTheSecretOfItsSteps reads the disk byte for byte.
func TestNothingOfAnImageHasTheSecretOfItsSteps(t *testing.T) {
	sandbox.Need(t, "qemu-system-x86_64", "qemu-img", "mmdebstrap", "mkfs.ext4", "go")
	images := filepath.Join(t.TempDir(), "images")
	recipe := testrun.Golden(t, images)
	// it fails when it finds nothing
	found, _ := exec.Command("sh", "-c", `grep -rlF "$0" "$1"`, testrun.Secret, images).CombinedOutput()
	require.Empty(t, string(found))
	named, err := exec.Command("sh", "-c", `grep -rlF "$0" "$1"`, recipe.Secrets[0].Name, images).CombinedOutput()
	require.NoError(t, err, "grep finds what is there: %s", named)
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Ino
}
