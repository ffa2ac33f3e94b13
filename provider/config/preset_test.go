package config

import (
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// TestPresetsComeBeforeWhatTheUserSays and are part of the image by what they stand
// for, not by their names.
func TestPresetsComeBeforeWhatTheUserSays(t *testing.T) {
	c := Default()
	assert.Empty(t, c.Recipe("").PresetRun)
	assert.False(t, c.Warm())
	plain := c.Recipe("ci").Digest()

	c.Image.Packages, c.Image.Run, c.Fork.Warm = []string{"make"}, []string{"docker pull debian"}, []string{"true"}
	c.Image.Preset = "docker"
	recipe := c.Recipe("ci")
	assert.Equal(t, []string{"docker.io", "apparmor", "iptables", "make"}, recipe.Packages)
	assert.Equal(t, []image.Commands{
		{Setting: "image.preset", Shell: []string{installDockerTools}},
		{Setting: "image.run", Shell: []string{"docker pull debian"}},
	}, recipe.Steps())
	assert.NotEqual(t, plain, recipe.Digest())
	assert.Equal(t, []image.Commands{
		{Setting: "image.preset", Shell: []string{startDocker}}, {Setting: "fork.warm", Shell: []string{"true"}},
	}, c.Warmth())
	assert.True(t, c.Warm())

	// Warm steps make another template, not another image.
	c.Fork.Warm = []string{"false"}
	assert.Equal(t, recipe.Digest(), c.Recipe("ci").Digest())
}

func TestCommandsOfPresetsAreShell(t *testing.T) {
	for name, p := range presets {
		for _, command := range slices.Concat(p.Run, p.Warm) {
			out, err := exec.Command("sh", "-n", "-c", command).CombinedOutput()
			require.NoError(t, err, "%s: %s", name, out)
			_, err = parseCommand(command)
			require.NoError(t, err, name)
		}
		for _, name := range p.Packages {
			_, err := parsePackage(name)
			require.NoError(t, err)
		}
	}
}
