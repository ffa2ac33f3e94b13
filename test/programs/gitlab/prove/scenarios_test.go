//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A trace has the commands as well as what they print.
func TestAfterTakesWhatWasPrinted(t *testing.T) {
	trace := "00O $ echo name=$(hostname)\n00O $ echo name=$!\n00O name=worker-1\n00O name=worker-2\n"
	require.Equal(t, "worker-1", after(trace, "name="))
	require.Empty(t, after(trace, "nothing="))
}

func TestScenariosAreChosenByName(t *testing.T) {
	all, err := chosen(nil)
	require.NoError(t, err)
	require.Len(t, all, len(scenarios))
	some, err := chosen([]string{"sources", "jobs"})
	require.NoError(t, err)
	require.Equal(t, "sources", some[0].name)
	require.Len(t, some, 2)
	_, err = chosen([]string{"nothing"})
	require.ErrorContains(t, err, `"nothing"`)
}
