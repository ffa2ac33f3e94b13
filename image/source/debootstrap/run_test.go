//go:build linux

package debootstrap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// stub puts a script in the place of mmdebstrap.
func stub(t *testing.T, script string) {
	t.Helper()
	need.Root(t)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mmdebstrap"), []byte("#!/bin/sh\n"+script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestFailureRepeatsWhatWasSaidLast(t *testing.T) {
	stub(t, `echo "$INITRD $1"; echo "E: cannot reach the mirror" >&2; exit 7`)
	var said []string
	err := runMmdebstrap(t.Context(), []string{"--mode=root"}, true, func(line string) { said = append(said, line) })
	require.ErrorContains(t, err, "exit status 7")
	require.ErrorContains(t, err, "E: cannot reach the mirror")
	require.Equal(t, []string{"No --mode=root", "E: cannot reach the mirror"}, said)
}

// detached is a process that leaves its process group, and says by what id the
// host knows it. The script ends when it is asked to: as the first process of its
// namespace it would pass over that without a trap.
const detached = `trap 'exit 1' TERM; setsid sh -c 'read pid rest </proc/self/stat; echo $pid; exec sleep 1000' & sleep 1000 & wait`

func TestCancelledRunLeavesNoProcessAndNoMount(t *testing.T) {
	dir := t.TempDir()
	stub(t, `mount -t tmpfs none "$1"; touch "$1/inside"; `+detached)
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	var left int
	begun := time.Now()
	err := runMmdebstrap(ctx, []string{dir}, false, func(line string) {
		if left == 0 {
			left, _ = strconv.Atoi(line)
		}
		cancel(interrupted)
	})
	require.ErrorIs(t, err, interrupted, "a person is told what happened")
	require.Less(t, time.Since(begun), 10*time.Second, "nobody had to be killed")
	requireEnds(t, left)
	require.NoFileExists(t, filepath.Join(dir, "inside"), "the mount shows outside")
}

// asPlugin in the environment makes the test binary a process that runs
// mmdebstrap, and prints what that says.
const asPlugin = "MAYFLY_TEST_MMDEBSTRAP"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) != "" {
		_ = runMmdebstrap(context.Background(), nil, false, func(line string) { fmt.Println(line) })
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestNothingOutlivesAKilledPlugin(t *testing.T) {
	stub(t, detached)
	plugin := exec.Command(os.Args[0])
	plugin.Env = append(os.Environ(), asPlugin+"=1")
	stdout, err := plugin.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, plugin.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, plugin.Process.Kill())
	_ = plugin.Wait() // it was killed
	left, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	requireEnds(t, left)
}

func requireEnds(t *testing.T, pid int) {
	t.Helper()
	require.NotZero(t, pid)
	require.Eventually(t, func() bool {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || isZombie(pid)
	}, time.Minute, 10*time.Millisecond, "process %d goes on", pid)
}

// isZombie tells a process that has ended from one that its parent has not waited for yet.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && strings.Contains(string(stat), ") Z ")
}
