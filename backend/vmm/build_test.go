//go:build linux

package vmm

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// builder is a backend whose agent is played, and a recipe of a cloud image: what a real
// agent does with a step, and that a real machine ends, is tested elsewhere.
func builder(t *testing.T) (state string, driver *played, b *Backend, recipe image.Recipe) {
	t.Helper()
	state = t.TempDir()
	blank := filepath.Join(state, "blank.raw")
	require.NoError(t, os.WriteFile(blank, append(make([]byte, 510), 0x55, 0xaa), 0o600))
	require.NoError(t, os.Truncate(blank, 1<<20))
	agent := filepath.Join(state, "agent")
	require.NoError(t, os.WriteFile(agent, []byte("agent"), 0o600))
	recipe = image.Recipe{
		Source: image.Source{Kind: image.Local, Location: blank}, User: "mayfly", Disk: 1 << 20, Agent: agent,
		Run: []string{"echo first", "echo the reason; exit 7"},
	}
	driver = &played{}
	return state, driver, New(driver, Options{
		Pool: "p", WorkersDir: filepath.Join(state, "workers"),
		ImagesDir: filepath.Join(state, "images"), StateDir: state,
		Network: network.None{}, Log: slog.New(slog.DiscardHandler),
	}), recipe
}

func TestFailingStepFailsTheBuildAndLeavesNothing(t *testing.T) {
	state, driver, b, recipe := builder(t)
	_, err := b.Build(t.Context(), recipe, func(string, string) {})
	for _, want := range []string{
		"step 2 of 2", "image.run[1]", "exit code 7", "the reason", "last lines of the console", "what the console said",
	} {
		require.ErrorContains(t, err, want)
	}
	require.Contains(t, driver.noted(), "launch, boot, ")
	require.True(t, driver.launched.UEFI, "a BIOS finds nothing to start on a blank disk")
	require.Empty(t, b.machines)
	machines, err := b.Find(t.Context())
	require.NoError(t, err)
	require.Empty(t, machines)
	for _, pattern := range []string{
		"images/[0-9a-f]*", "images/.building-*", "images/layers/.building-*", "workers/*",
	} {
		left, err := filepath.Glob(filepath.Join(state, pattern))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func TestASecretThatIsMissingEndsTheBuildBeforeItBegins(t *testing.T) {
	_, driver, b, recipe := builder(t)
	recipe.Secrets = []image.Secret{{Name: "A", Variable: "MAYFLY_UNSET_A"}, {Name: "B", File: "/nonexistent"}}
	var shown []string
	_, err := b.Build(t.Context(), recipe, func(stage, _ string) { shown = append(shown, stage) })
	require.ErrorContains(t, err, "image.secrets.A: this process has no variable MAYFLY_UNSET_A")
	require.ErrorContains(t, err, "image.secrets.B: ", "all are named at once")
	require.Empty(t, shown)
	require.Empty(t, driver.noted())
}

// The first boot is behind a cloud image's layers, and the disk is copied while the
// guest is frozen.
func TestABuildGoesOnFromTheStateBeforeItsFailure(t *testing.T) {
	state, driver, b, recipe := builder(t)
	_, err := b.Build(t.Context(), recipe, func(string, string) {})
	require.ErrorContains(t, err, "exit code 7")
	require.Equal(t, "launch, boot, network, freeze, thaw, freeze, thaw", driver.noted())

	var shown []string
	recipe.Run[1] = "echo another; exit 7"
	_, err = b.Build(t.Context(), recipe, func(stage, line string) { shown = append(shown, stage+": "+line) })
	require.ErrorContains(t, err, "echo another")
	require.Equal(t, "launch, boot, network", driver.noted())
	require.Contains(t, shown[0], "layer: going on from 1 of the commands, on a base of ")
	require.NotContains(t, shown, "step 1 of 2: $ echo first")
	layers, err := filepath.Glob(filepath.Join(state, "images", "layers", "[0-9a-f]*"))
	require.NoError(t, err)
	require.Len(t, layers, 2)

	recipe.Disk *= 2 // another base
	driver.fail("freeze", errors.New("no such ioctl"))
	shown = nil
	_, err = b.Build(t.Context(), recipe, func(stage, line string) { shown = append(shown, stage+": "+line) })
	require.ErrorContains(t, err, "exit code 7", "the build goes on")
	require.Contains(t, strings.Join(shown, "\n"), "layer: not kept: ")
	require.Contains(t, strings.Join(shown, "\n"), "no such ioctl")
	left, err := filepath.Glob(filepath.Join(state, "images", "layers", "[0-9a-f]*"))
	require.NoError(t, err)
	require.Len(t, left, 2)
}
