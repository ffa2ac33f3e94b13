//go:build linux

package main

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, options{sections: report.Sections, counts: []int{1, 4, 8}, rounds: 5, roundsSeveral: 2, turns: 3,
		density: 8 << 30}, o)

	o, err = parseOptions([]string{"-counts", " 2  1 ", "-rounds", "3", "-rounds-several", "1", "-state-dir", "/s",
		"-dry-run", "-sections", "density  start", "-turns", "2", "-density", "1.5"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, options{sections: []string{report.SectionStart, report.SectionDensity}, counts: []int{2, 1},
		rounds: 3, roundsSeveral: 1, turns: 2, density: 3 << 29, stateDir: "/s", dryRun: true}, o)
	require.Equal(t, 3, o.roundsOf(1))
	require.Equal(t, 1, o.roundsOf(2))

	for _, bad := range [][]string{
		{"-counts", ""}, {"-counts", "1 x"}, {"-counts", "0"}, {"-counts", "65"}, {"-counts", "1 1"},
		{"-rounds", "0"}, {"-rounds-several", "-1"}, {"more"}, {"-unknown"},
		{"-turns", "0"}, {"-density", "0.5"}, {"-density", "1000"}, {"-density", "NaN"}, {"-sections", "start other"},
	} {
		_, err := parseOptions(bad, io.Discard)
		require.Error(t, err, bad)
	}
}
