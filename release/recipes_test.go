package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRecipesNameThePrograms fills the recipes in for programs that are no more than
// their names.
func TestRecipesNameThePrograms(t *testing.T) {
	r := release{version: "1.2.3", made: time.Unix(1796031062, 0), dir: t.TempDir()}
	r.platforms = append(append(r.platforms, homebrew...), freebsd...)
	for _, p := range r.platforms {
		require.NoError(t, os.WriteFile(r.path(p.binary()), []byte(p.String()), 0o755))
	}
	t.Chdir("..")
	require.NoError(t, r.fillRecipes())
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(r.dir, name))
		require.NoError(t, err)
		require.NotContains(t, string(text), "{{")
		return string(text)
	}
	formula, port := read("homebrew/fleeting-plugin-mayfly.rb"), read("freebsd-port/distinfo")
	for text, platforms := range map[string][]platform{formula: homebrew, port: freebsd} {
		for _, p := range platforms {
			sum, err := sha256Of(r.path(p.binary()))
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(text, sum), p)
			require.Contains(t, text, p.binary())
		}
	}
	require.Contains(t, formula, repository+"/-/releases/v1.2.3/downloads/fleeting-plugin-mayfly-darwin-arm64\"")
	require.Contains(t, port, "SIZE (fleeting-plugin-mayfly-1.2.3/fleeting-plugin-mayfly-freebsd-amd64) = 13\n")
	require.Contains(t, read("freebsd-port/Makefile"), "DISTVERSION=\t1.2.3\n")
	require.NotEmpty(t, read("freebsd-port/pkg-descr"))
}

func TestRecipesAreLeftOutWithoutTheirPrograms(t *testing.T) {
	t.Chdir("..")
	r := release{version: "1.2.3", dir: t.TempDir(), platforms: []platform{{"linux", "amd64"}}}
	require.NoError(t, r.fillRecipes())
	left, err := os.ReadDir(r.dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
