package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func TestRecipe(t *testing.T) {
	c := config.Default()
	c.Image.Packages = []string{"git"}
	c.Image.Run = []string{"true"}
	assert.Equal(t, image.Recipe{
		Source:   image.Source{Kind: image.Debootstrap},
		Packages: []string{"git"},
		Run:      []string{"true"},
		User:     "ubuntu",
		Disk:     10 * gib,
		CPUs:     2,
		Memory:   2 * gib,
	}, c.Recipe("ubuntu"))
	assert.Equal(t, "mayfly", c.Recipe("").User)
}

func TestDirectories(t *testing.T) {
	c := config.Default()
	c.Pool = "build"
	assert.Equal(t, "/var/lib/mayfly/pools/build", c.PoolDir())
	assert.Equal(t, "/var/lib/mayfly/images", c.ImagesDir())
	assert.Equal(t, "/var/lib/mayfly/addresses", c.AddressDir())
}

func TestCapacityLeavesAddressesToWhatIsNoWorker(t *testing.T) {
	c := config.Default()
	assert.Equal(t, 65533, c.Network.Addresses())
	assert.Equal(t, 65532, c.Capacity(), "one for a machine that a template is made of")
	c.Fork.Spares = 3
	assert.Equal(t, 65531, c.Capacity(), "another for a spare that is being made")
}

// A plugin that was given a link and a command that was given the directory
// mean the same pool, also before there is a directory.
func TestPoolHasOnePath(t *testing.T) {
	real, link := filepath.Join(t.TempDir(), "real"), filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Mkdir(real, 0o700))
	require.NoError(t, os.Symlink(real, link))
	for name, below := range map[string]string{"there": "", "not there yet": "a/b"} {
		direct, linked := config.Default(), config.Default()
		direct.StateDir, linked.StateDir = filepath.Join(real, below), filepath.Join(link, below)
		require.Equal(t, direct.PoolDir(), linked.PoolDir(), name)
		require.Contains(t, linked.PoolDir(), filepath.Join("real", below, "pools", "default"), name)
	}
}
