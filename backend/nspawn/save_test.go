//go:build linux

package nspawn

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// What a worker has written lies over the golden tree; the files of its identity, which lie
// between the two, are no part of what is kept.
func TestMergeKeepsWhatAWorkerHasWrittenAndNotItsIdentity(t *testing.T) {
	need.Root(t)
	need.Programs(t, "mkfs.ext4", "mount", "unshare", "cp")
	at := t.TempDir()
	golden := image.Golden{Dir: filepath.Join(at, "golden: 1")}
	golden.Recipe.Disk = 64 << 20
	dir, to := filepath.Join(at, "worker"), filepath.Join(at, "merged")
	require.NoError(t, errors.Join(os.MkdirAll(filepath.Join(golden.Tree(), "etc"), 0o755), os.Mkdir(dir, 0o700)))
	for _, name := range []string{"etc/stays", "etc/changed", "etc/removed"} {
		require.NoError(t, os.WriteFile(filepath.Join(golden.Tree(), name), []byte("golden"), 0o600))
		require.NoError(t, os.Chown(filepath.Join(golden.Tree(), name), image.ShiftedBase, image.ShiftedBase))
	}
	require.NoError(t, makeDisk(t.Context(), golden))
	require.NoError(t, cloneTree(t.Context(), golden, dir))
	require.NoError(t, os.Mkdir(filepath.Join(dir, identityDir, "etc"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, identityDir, "etc/ssh_host_key"), []byte("secret"), 0o600))

	const work = `cd "$1"; test -e etc/ssh_host_key; echo worker >etc/changed; rm etc/removed
		mkdir -m 0750 new; ln -s /etc/changed new/link`
	arguments := among(mounts(golden, dir), "sh", "-euc", work, "work", filepath.Join(dir, rootDir))
	out, err := exec.Command("unshare", arguments...).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, awaitDetached(t.Context(), filepath.Join(dir, diskFile)))

	require.NoError(t, merge(t.Context(), golden, dir, to))
	for name, want := range map[string]string{
		"etc/stays": "golden", "etc/changed": "worker\n", "new/link": "worker\n",
	} {
		path := filepath.Join(to, name)
		if name == "new/link" { // it leads to the root of a guest
			link, err := os.Readlink(path)
			require.NoError(t, err)
			path = filepath.Join(to, link)
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(text), name)
	}
	for _, gone := range []string{"etc/removed", "etc/ssh_host_key"} {
		require.NoFileExists(t, filepath.Join(to, gone))
	}
	info, err := os.Stat(filepath.Join(to, "etc/stays"))
	require.NoError(t, err)
	require.EqualValues(t, image.ShiftedBase, info.Sys().(*syscall.Stat_t).Uid)
	info, err = os.Stat(filepath.Join(to, "new"))
	require.NoError(t, err)
	require.EqualValues(t, 0o750, info.Mode().Perm())
	require.NotContains(t, loopDevices(t), dir)

	require.Error(t, merge(t.Context(), image.Golden{Dir: filepath.Join(at, "none")}, dir, filepath.Join(at, "no")))
	require.NoDirExists(t, filepath.Join(at, "no"))
}
