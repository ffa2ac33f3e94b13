//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-rounds", "3", "-seed", "7", "-backends", "synthetic", "-plugin", "bin/plugin"})
	require.NoError(t, err)
	require.Equal(t, 3, o.rounds)
	require.Equal(t, uint64(7), o.seed)
	require.Equal(t, []string{"synthetic"}, o.backends)
	require.Regexp(t, "^/.*/bin/plugin$", o.plugin)
	o, err = parseOptions([]string{"-backends", "synthetic"})
	require.NoError(t, err)
	require.NotZero(t, o.seed, "it is printed, so that a run can be repeated")
	for _, wrong := range [][]string{
		{"-rounds", "0"}, {"-churn", "-1"}, {"-churn", "19"}, {"-backends", ""}, {"-backends", "synthetic synthetic"},
		{"-backends", "vmware"}, {"-backends", "synthetic", "more"},
	} {
		_, err := parseOptions(wrong)
		require.Error(t, err, "%q", wrong)
	}
}
