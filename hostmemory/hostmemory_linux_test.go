package hostmemory

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTotalIsWhatTheKernelSaysElsewhere(t *testing.T) {
	text, err := os.ReadFile("/proc/meminfo")
	require.NoError(t, err)
	var kilobytes int64
	_, err = fmt.Sscanf(string(text), "MemTotal: %d kB", &kilobytes)
	require.NoError(t, err)
	total, err := Total()
	require.NoError(t, err)
	require.Equal(t, kilobytes<<10, total)
}
