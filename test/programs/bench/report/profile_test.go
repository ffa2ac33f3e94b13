package report

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProfileAccountsForAllOfTheTime(t *testing.T) {
	profile := Profile([]Start{
		{
			Ready: 2, Promised: 0.25,
			Phases: map[string]float64{"lease": 0.5, "start": 0.75, "start.disk": 0.25, "start.identity": 0.5,
				"unheard of": 9},
		},
		{
			Ready: 4, Promised: 0.25,
			Phases: map[string]float64{"lease": 1.5, "start": 0.75, "start.disk": 0.25, "start.identity": 0.5},
		},
	})
	type line struct {
		name        string
		took, ended float64
	}
	var got []line
	for _, p := range profile {
		got = append(got, line{p.Name, p.Took.Median, p.Ended.Median})
	}
	require.Equal(t, []line{
		{"promise: the runner's call", 250, 250},
		{"lease, keys, record", 1000, 1250},
		{"disk", 250, 1500},
		{"identity, up to an open SSH port", 500, 2000},
		{"the rest: records, clean-up", 1000, 3000},
	}, got)
	require.Nil(t, Profile(nil))
}
