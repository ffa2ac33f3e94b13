package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestVersions(t *testing.T) {
	for described, want := range map[string]string{
		"v1.2.3":                      "1.2.3",
		"1.3.0-rc.1":                  "1.3.0-rc.1",
		"v1.2.3-14-g0a1b2c3":          "1.2.4-dev.14.g0a1b2c3",
		"v1.2.3-14-g0a1b2c3-dirty":    "1.2.4-dev.14.g0a1b2c3.dirty",
		"v1.3.0-rc.1-2-g0a1b2c3":      "1.3.0-rc.1.dev.2.g0a1b2c3",
		"0a1b2c3":                     "0.0.0-dev.g0a1b2c3",
		"0a1b2c3-dirty":               "0.0.0-dev.g0a1b2c3.dirty",
		"v1.2.10-9-g0000000000-dirty": "1.2.11-dev.9.g0000000000.dirty",
	} {
		got, err := versionOf(described)
		require.NoError(t, err, described)
		require.Equal(t, want, got, described)
	}
	for _, described := range []string{"", "dev", "1.2", "v1.2.3+build", "1.02.3", "a/b"} {
		_, err := versionOf(described)
		require.ErrorContains(t, err, "is no version", described)
	}
}

func TestRevision(t *testing.T) {
	_, made, err := revision(t.Context(), "1796031062")
	require.NoError(t, err)
	require.Equal(t, time.Unix(1796031062, 0).UTC(), made)
	_, _, err = revision(t.Context(), "yesterday")
	require.ErrorContains(t, err, "SOURCE_DATE_EPOCH")
	t.Chdir(t.TempDir())
	t.Setenv("GIT_CEILING_DIRECTORIES", "/")
	_, _, err = revision(t.Context(), "")
	require.ErrorContains(t, err, "set SOURCE_DATE_EPOCH")
}
