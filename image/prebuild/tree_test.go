package prebuild

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

func TestTreeIsMadeWithoutBootAndSealedLast(t *testing.T) {
	g := newGuest()
	var shown []string
	recipe := image.Recipe{User: "mayfly", Run: []string{"echo one"}}
	require.NoError(t, Tree(t.Context(), g, recipe, func(stage, line string) { shown = append(shown, stage+": "+line) }))
	require.Equal(t, "network", g.asked[0])
	require.Contains(t, g.asked[1], "useradd --create-home --shell /bin/bash mayfly")
	require.Equal(t, "echo one", g.asked[2])
	require.Equal(t, "seal", g.asked[len(g.asked)-1], "its host ends it")
	require.Contains(t, shown, "step 1 of 1: $ echo one")

	g = newGuest()
	require.NoError(t, Tree(t.Context(), g, image.Recipe{User: "root"}, func(string, string) {}))
	for _, asked := range g.asked {
		require.NotContains(t, asked, "useradd")
	}
}

func TestFailuresThatEndATree(t *testing.T) {
	for word, want := range map[string]string{
		"network": "setting up the network of the prebuild", "useradd": "making the account mayfly",
		"exit 1": "image.run[0]", "seal": "sealing the image",
	} {
		g := newGuest()
		g.answers[word] = answer{"the reason", &guest.ExitError{Code: 1}}
		recipe := image.Recipe{User: "mayfly", Run: []string{"exit 1"}}
		err := Tree(t.Context(), g, recipe, func(string, string) {})
		require.ErrorContains(t, err, want)
	}
}
