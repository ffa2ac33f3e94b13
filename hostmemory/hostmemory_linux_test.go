package hostmemory

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTotalIsWhatTheKernelSaysElsewhereOrLess(t *testing.T) {
	text, err := os.ReadFile("/proc/meminfo")
	require.NoError(t, err)
	var kilobytes int64
	_, err = fmt.Sscanf(string(text), "MemTotal: %d kB", &kilobytes)
	require.NoError(t, err)
	all, err := total()
	require.NoError(t, err)
	require.EqualValues(t, kilobytes<<10, all)

	limit, limited, err := groupLimit()
	require.NoError(t, err)
	want := kilobytes << 10
	if limited {
		want = min(want, limit)
	}
	have, err := Total()
	require.NoError(t, err)
	require.Equal(t, want, have)
}

func TestThisHostSaysHowItsMemoryDoes(t *testing.T) {
	left, err := Available()
	require.NoError(t, err)
	require.Positive(t, left)
	total, err := Total()
	require.NoError(t, err)
	require.LessOrEqual(t, left, total)
	pressures, err := Pressures()
	require.NoError(t, err)
	if _, err := os.ReadFile("/proc/pressure/memory"); err == nil {
		require.NotEmpty(t, pressures)
	}
}
