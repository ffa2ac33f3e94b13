package image

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestASavedImageIsWhatItsNameAloneAsksFor(t *testing.T) {
	of := Recipe{
		Source: Source{Kind: Debootstrap}, Packages: []string{"make"}, Run: []string{"true"}, User: "mayfly",
		Disk: 4 << 30, Form: Tree, AgentSHA256: "aa", GitLabRunnerSHA256: "bb", Edition: "2026-11-29T04:00:00Z",
	}
	saved := SavedRecipe(of, "tools", time.Now())
	require.Equal(t, "saved:tools", saved.Source.Public())
	asked := Recipe{
		Source: saved.Source, User: "mayfly", Disk: 4 << 30, Form: Tree, AgentSHA256: "aa", GitLabRunnerSHA256: "bb",
	}
	require.Equal(t, asked.Digest(), saved.Digest())
	again := SavedRecipe(of, "tools", time.Now().Add(time.Nanosecond))
	require.NotEqual(t, again.Digest(), saved.Digest(), "what had the name before is another image")
	require.NoError(t, asked.GoesOn(saved))

	for want, change := range map[string]func(*Recipe){
		"the form that":                     func(r *Recipe) { r.Form = Disk },
		`connector_config.username to "ci"`: func(r *Recipe) { r.User = "ci" },
		`machine.disk to "8192MiB"`:         func(r *Recipe) { r.Disk = 8 << 30 },
	} {
		other := saved
		change(&other)
		require.ErrorContains(t, asked.GoesOn(other), want)
	}
}

func TestOnlyWhatAShellHasLeftIsByHand(t *testing.T) {
	saved := Manifest{Recipe: Recipe{Source: Source{Kind: Saved}}}
	require.True(t, saved.ByHand())
	built := saved
	built.Begin(time.Now())
	require.False(t, built.ByHand())
	require.False(t, Manifest{}.ByHand())
}
