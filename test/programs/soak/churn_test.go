//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGrowthOfEachFigureIsReported(t *testing.T) {
	first := size{30_000, 17, 13, 6, 32}
	require.NoError(t, grown(first, first))
	for i, figure := range figures {
		last := first
		last[i] = figure.bound(first[i])
		require.NoError(t, grown(first, last))
		last[i]++
		require.ErrorContains(t, grown(first, last), figure.name+": grown from ")
	}
}

func TestStatusField(t *testing.T) {
	const status = "Name:\tplugin\nVmRSS:\t   29028 kB\nThreads:\t13\n"
	require.Equal(t, int64(29028), statusField(status, "VmRSS"))
	require.Equal(t, int64(13), statusField(status, "Threads"))
	require.Zero(t, statusField(status, "Uid"))
}
