//go:build linux

package nspawn

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// TestADeviceIsSharedWithWhoeverComesToIt has the null device in place of KVM's, and a
// user of a container.
func TestADeviceIsSharedWithWhoeverComesToIt(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	for _, at := range []string{dir, filepath.Dir(dir)} { // the user passes through
		require.NoError(t, os.Chmod(at, 0o711))
	}
	node := filepath.Join(dir, "kvm")
	require.NoError(t, shareDevice("/dev/null", node))
	write := exec.Command("sh", "-c", "echo >"+node)
	const job = image.ShiftedBase + 1000
	write.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: job, Gid: job}}
	out, err := write.CombinedOutput()
	require.NoError(t, err, string(out))
	require.ErrorIs(t, shareDevice("/dev/no-such-device", node+"2"), unix.ENOENT)

	path, err := New(Options{}).shareKVM(dir)
	require.NoError(t, err)
	require.Empty(t, path, "nobody asked for it")
}
