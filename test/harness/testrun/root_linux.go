package testrun

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Root shows the root file system of the golden image in a directory, and keeps
// in memory what the test changes there. It wants the sandbox, whose mounts
// nobody else sees.
func Root(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	disk := image.Golden{Dir: built(t)}.Disk()
	const script = `cd "$1" && mkdir below memory root
		mount -o loop,ro,noload "$2" below && mount -t tmpfs none memory && mkdir memory/upper memory/work &&
		mount -t overlay -o lowerdir=below,upperdir=memory/upper,workdir=memory/work none root`
	out, err := exec.Command("sh", "-c", script, "sh", dir, disk).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() {
		for _, at := range []string{"root", "memory", "below"} {
			require.NoError(t, unix.Unmount(filepath.Join(dir, at), 0))
		}
	})
	return filepath.Join(dir, "root")
}
