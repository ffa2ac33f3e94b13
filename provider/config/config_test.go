package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

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
	assert.Equal(t, config.DefaultUser, c.Recipe("").User)
}

func TestDirectories(t *testing.T) {
	c := config.Default()
	c.Pool = "build"
	assert.Equal(t, "/var/lib/mayfly/pools/build", c.PoolDir())
	assert.Equal(t, "/var/lib/mayfly/images", c.ImagesDir())
	assert.Equal(t, "/var/lib/mayfly/addresses", c.AddressDir())
}

func TestCapacityLeavesThreeAddresses(t *testing.T) {
	assert.Equal(t, 65533, config.Default().Network.Capacity())
}
