package runner

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// WorkerDirs lists the directories of the workers of all pools.
func WorkerDirs(t testing.TB, stateDir string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(stateDir, "pools", "*", "workers", "*"))
	require.NoError(t, err)
	return dirs
}

// PluginPID is the process that took the default pool last.
func PluginPID(t testing.TB, stateDir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(stateDir, "pools", "default", "lock"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	return pid
}

// Alive says whether there is such a process.
func Alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
