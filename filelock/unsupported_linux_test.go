package filelock

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/refuse"
)

// lockWithout names the file that the test binary, run again, locks while the
// kernel has no locks.
const lockWithout = "MAYFLY_TEST_LOCK_WITHOUT"

func TestMain(m *testing.M) {
	if path := os.Getenv(lockWithout); path != "" {
		err := refuse.Calls(unix.ENOLCK, unix.SYS_FLOCK)
		if err == nil {
			_, err = TryAcquire(path)
		}
		fmt.Println(err)
		return
	}
	os.Exit(m.Run())
}

func TestFileSystemWithoutLocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), lockWithout+"="+path)
	said, err := child.CombinedOutput()
	require.NoError(t, err, "%s", said)
	require.Equal(t, "locking "+path+": "+ErrNoLocks.Error()+": no locks available\n", string(said))
}

func TestLinkIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	require.NoError(t, os.Symlink("elsewhere", path))
	_, err := Acquire(t.Context(), path)
	require.ErrorIs(t, err, unix.ELOOP)
	_, err = TryAcquire(path)
	require.ErrorIs(t, err, unix.ELOOP)
	require.NoFileExists(t, filepath.Join(dir, "elsewhere"))
}
