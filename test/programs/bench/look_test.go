//go:build linux

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTimeWantedIsTimeRunAndTimeWaited(t *testing.T) {
	took, err := parseSchedstat([]byte("2000000000 1000000000 79869\n"))
	require.NoError(t, err)
	require.Equal(t, 3*time.Second, took)
	for _, bad := range []string{"", "1 2", "a b c"} {
		_, err := parseSchedstat([]byte(bad))
		require.Error(t, err, bad)
	}
	self, err := os.ReadFile("/proc/self/schedstat")
	require.NoError(t, err)
	_, err = parseSchedstat(self)
	require.NoError(t, err)
}

func TestOwnBlocksLeaveOutWhatHasASecondName(t *testing.T) {
	dir := t.TempDir()
	own, shared := filepath.Join(dir, "worker", "disk"), filepath.Join(dir, "worker", "base")
	require.NoError(t, os.Mkdir(filepath.Dir(own), 0o700))
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(i)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "template"), content, 0o600))
	require.NoError(t, os.Link(filepath.Join(dir, "template"), shared))
	require.NoError(t, os.WriteFile(own, content, 0o600))
	require.NoError(t, os.Truncate(own, 1<<30)) // a hole takes nothing
	blocks, err := ownBlocks(filepath.Dir(own))
	require.NoError(t, err)
	require.GreaterOrEqual(t, blocks, int64(1<<20))
	require.Less(t, blocks, int64(2<<20))
}

func TestMachineThatIsNotThereIsNamed(t *testing.T) {
	_, _, err := machine("/nowhere/pool-aaaaaaaa")
	require.ErrorContains(t, err, "pool-aaaaaaaa")
}
