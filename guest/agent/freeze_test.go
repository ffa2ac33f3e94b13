//go:build linux

package agent

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestGuestIsFrozenWhileTheHostCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := &recorder{}
		client, _, _ := serve(t, kernel)
		full := errors.New("the disk is full")
		for _, result := range []error{nil, full} {
			kernel.calls = nil
			err := client.WhileFrozen(t.Context(), func() error {
				require.Equal(t, []string{"freeze"}, kernel.calls)
				return result
			})
			require.ErrorIs(t, err, result)
			require.Equal(t, []string{"freeze", "thaw"}, kernel.calls)
		}
		kernel.fail = "freeze"
		require.ErrorContains(t, client.WhileFrozen(t.Context(), func() error { panic("it writes") }), "says no")
	})
}

// The host copies too slowly, or is gone for good.
func TestAFrozenGuestGoesOnByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := &recorder{}
		client, _, _ := serve(t, kernel)
		err := client.WhileFrozen(t.Context(), func() error {
			time.Sleep(guest.FreezeLimit - time.Second)
			synctest.Wait()
			require.Equal(t, []string{"freeze"}, kernel.noted())
			time.Sleep(2 * time.Second)
			synctest.Wait()
			require.Equal(t, []string{"freeze", "thaw"}, kernel.noted())
			return nil
		})
		require.ErrorContains(t, err, "went on by itself")
		require.NoError(t, client.WhileFrozen(t.Context(), func() error { return nil }), "the next time is another")
		require.Equal(t, []string{"freeze", "thaw", "freeze", "thaw"}, kernel.noted())
	})
}

func TestOnlyWhatIsOnADiskIsFrozen(t *testing.T) {
	points := onDisks(strings.NewReader(`22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:5 / /dev rw,nosuid - devtmpfs udev rw,size=1
24 22 254:15 / /boot/efi rw,relatime - vfat /dev/vda15 rw
25 22 254:16 / /read\040only ro,relatime - ext4 /dev/vdb rw
26 22 254:17 / /with\040space rw,relatime shared:2 master:1 - btrfs /dev/vdc rw,subvol=/
27 22 0:40 / /net rw - nfs host:/dev/x rw
broken
`))
	require.Equal(t, []string{"/", "/boot/efi", "/with space"}, points)
}

// TestAFileSystemIsFrozen has a real one, in a mount namespace that sees no other: what
// the host's disks hold must not be frozen by a test.
func TestAFileSystemIsFrozen(t *testing.T) {
	if root := os.Getenv("MAYFLY_TEST_FREEZE"); root != "" {
		freezeAlone(t, root)
		return
	}
	need.Root(t)
	need.Programs(t, "unshare", "mount", "mkfs.ext4")
	self, err := filepath.Abs(os.Args[0])
	require.NoError(t, err)
	const script = `set -e
truncate -s 16M "$1.img"; mkfs.ext4 -q "$1.img"
mount -o loop "$1.img" "$1"; mkdir "$1/proc" "$1/old"; mount -t proc proc "$1/proc"
MAYFLY_TEST_FREEZE=$1 exec "$2" -test.run=TestAFileSystemIsFrozen -test.v`
	out, err := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
		"sh", "-c", script, "sh", t.TempDir(), self).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "PASS: TestAFileSystemIsFrozen")
}

// freezeAlone makes a mounted file system its root, and then freezes it.
func freezeAlone(t *testing.T, root string) {
	require.NoError(t, unix.PivotRoot(root, filepath.Join(root, "old")))
	require.NoError(t, os.Chdir("/"))
	require.NoError(t, unix.Unmount("/old", unix.MNT_DETACH))
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.Equal(t, []string{"/"}, onDisks(strings.NewReader(string(table))), "nothing else may be frozen")
	thaw, err := linux{}.Freeze()
	require.NoError(t, err)
	written := make(chan error, 1)
	go func() { written <- os.WriteFile("/file", []byte("x"), 0o600) }()
	select {
	case err := <-written:
		t.Errorf("it was written to: %v", err)
	case <-time.After(200 * time.Millisecond): // the shortest that shows a write that does not wait
	}
	require.NoError(t, thaw())
	require.NoError(t, <-written)
}

// TestProcessesOfAContainerAreStopped is in a pid namespace, as a container's agent is.
func TestProcessesOfAContainerAreStopped(t *testing.T) {
	if os.Getenv("MAYFLY_TEST_FREEZE") != "" {
		stopOthers(t)
		return
	}
	need.Root(t)
	need.Programs(t, "unshare", "sh")
	// The shell is the first process, as systemd-nspawn's is: it only waits.
	cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
		"sh", "-c", `"$0" -test.run=TestProcessesOfAContainerAreStopped -test.v; exit $?`, os.Args[0])
	cmd.Env = append(os.Environ(), "MAYFLY_TEST_FREEZE=yes")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "PASS: TestProcessesOfAContainerAreStopped")
}

func stopOthers(t *testing.T) {
	other := exec.Command("sh", "-c", "while :; do :; done")
	other.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	require.NoError(t, other.Start())
	defer other.Wait()
	defer other.Process.Kill()
	thaw, err := container{}.Freeze()
	require.NoError(t, err)
	require.Eventually(t, func() bool { return state(t, other.Process.Pid) == "T" }, time.Minute, time.Millisecond)
	require.NotEqual(t, "T", state(t, 1))
	require.NoError(t, thaw())
	require.Eventually(t, func() bool { return state(t, other.Process.Pid) == "R" }, time.Minute, time.Millisecond)
}

// state is a process's, as proc(5) has it: T for one that is stopped.
func state(t *testing.T, pid int) string {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	defer file.Close()
	for rows := bufio.NewScanner(file); rows.Scan(); {
		if value, found := strings.CutPrefix(rows.Text(), "State:"); found {
			return strings.Fields(value)[0]
		}
	}
	return ""
}
