package pool

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
)

func TestExpectationIsOfOneImageAndSizeAndOfTheLastForks(t *testing.T) {
	size := backend.Size{CPUs: 1, Memory: 1 << 30}
	var forks pastForks
	for i := range enoughForks {
		_, known := forks.expected("one", size)
		require.False(t, known, "%d forks are too few", i)
		forks.add("one", size, int64(i))
	}
	expected, known := forks.expected("one", size)
	require.True(t, known)
	require.EqualValues(t, enoughForks-1, expected)
	for _, other := range []backend.Size{{CPUs: 2, Memory: 1 << 30}, {CPUs: 1, Memory: 2 << 30}} {
		_, known = forks.expected("one", other)
		require.False(t, known)
	}

	for range 2 * rememberedForks {
		forks.add("one", size, 100)
	}
	require.Len(t, forks.Peaks, rememberedForks)
	for range 5 {
		forks.add("one", size, 1000)
	}
	expected, _ = forks.expected("one", size)
	require.EqualValues(t, 100, expected, "95 of 100 did not exceed it")
	forks.add("one", size, 1000)
	expected, _ = forks.expected("one", size)
	require.EqualValues(t, 1000, expected)

	forks.add("two", size, 1)
	_, known = forks.expected("one", size)
	require.False(t, known, "another image begins anew")
	require.Len(t, forks.Peaks, 1)
}
