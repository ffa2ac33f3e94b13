package source

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stub puts a script in the place of mmdebstrap.
func stub(t *testing.T, script string) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mmdebstrap"), []byte("#!/bin/sh\n"+script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestFailureRepeatsWhatWasSaidLast(t *testing.T) {
	stub(t, `echo "$INITRD $1"; echo "E: cannot reach the mirror" >&2; exit 7`)
	var said []string
	err := runMmdebstrap(t.Context(), []string{"--mode=root"}, func(line string) { said = append(said, line) })
	require.ErrorContains(t, err, "exit status 7")
	require.ErrorContains(t, err, "E: cannot reach the mirror")
	require.Equal(t, []string{"No --mode=root", "E: cannot reach the mirror"}, said)
}

func TestCancelledRunLeavesNoProcessAndNoMount(t *testing.T) {
	dir := t.TempDir()
	stub(t, `mount -t tmpfs none "$1"; touch "$1/inside"; sleep 1000 & echo $!; wait`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var child int
	begun := time.Now()
	err := runMmdebstrap(ctx, []string{dir}, func(line string) {
		child, _ = strconv.Atoi(strings.TrimSpace(line))
		cancel()
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(begun), 5*time.Second)
	require.NotZero(t, child)
	require.Eventually(t, func() bool { return errors.Is(syscall.Kill(child, 0), syscall.ESRCH) || isZombie(child) }, 5*time.Second, 10*time.Millisecond)
	require.NoFileExists(t, filepath.Join(dir, "inside"), "the mount shows outside")
}

// isZombie tells a process that has ended from one that nobody has buried yet.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && strings.Contains(string(stat), ") Z ")
}
