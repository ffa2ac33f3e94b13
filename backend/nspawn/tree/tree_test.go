//go:build linux

package tree

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m, func() func() { return func() {} })) }

const base = 1000000

func owner(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	stat := info.Sys().(*syscall.Stat_t)
	return stat.Uid, stat.Gid
}

func TestShiftKeepsWhatProgramsMayDo(t *testing.T) {
	sandbox.Need(t)
	root := t.TempDir()
	sudo, hard, link, ping := filepath.Join(root, "sudo"), filepath.Join(root, "hard"), filepath.Join(root, "link"), filepath.Join(root, "ping")
	require.NoError(t, os.WriteFile(sudo, nil, 0o600))
	require.NoError(t, os.Chown(sudo, 0, 33))
	require.NoError(t, unix.Chmod(sudo, 0o4755))
	require.NoError(t, os.Link(sudo, hard))
	require.NoError(t, os.Symlink("/etc/shadow", link))
	require.NoError(t, os.WriteFile(ping, nil, 0o755))
	capability := make([]byte, 20) // revision 2, cap_net_raw+ep
	binary.LittleEndian.PutUint32(capability, 0x02000001)
	binary.LittleEndian.PutUint32(capability[4:], 1<<13)
	require.NoError(t, unix.Lsetxattr(ping, capabilityName, capability, 0))

	for range 2 { // twice is as good as once
		require.NoError(t, Shift(root, base))
		for _, path := range []string{sudo, hard} {
			uid, gid := owner(t, path)
			require.EqualValues(t, base, uid)
			require.EqualValues(t, base+33, gid)
		}
		info, err := os.Stat(sudo)
		require.NoError(t, err)
		require.Equal(t, os.ModeSetuid|0o755, info.Mode())
		uid, _ := owner(t, link)
		require.EqualValues(t, base, uid)
		got, err := capabilityOf(ping)
		require.NoError(t, err)
		require.EqualValues(t, 0x03000001, binary.LittleEndian.Uint32(got))
		require.EqualValues(t, base, binary.LittleEndian.Uint32(got[20:]))
		require.True(t, bytes.Equal(capability[4:20], got[4:20]))
	}
	uid, _ := owner(t, "/etc/shadow")
	require.Zero(t, uid, "no link is followed")
}

func TestWriterMakesDirectoriesLikeTheImages(t *testing.T) {
	sandbox.Need(t)
	like, upper := t.TempDir(), t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(like, "home/job"), 0o755))
	require.NoError(t, os.Chmod(filepath.Join(like, "home/job"), 0o750))
	require.NoError(t, os.Chown(filepath.Join(like, "home/job"), base+7, base+8))
	require.NoError(t, os.Symlink("/etc", filepath.Join(like, "away")))
	w, err := NewWriter(upper, like, base)
	require.NoError(t, err)
	defer w.Close()

	file := File{Name: "home/job/.ssh/authorized_keys", Content: "key\n", Mode: 0o600, UID: 7, GID: 8}
	require.NoError(t, w.Write(file))
	require.NoError(t, w.Write(file), "again")
	info, err := os.Stat(filepath.Join(upper, "home/job"))
	require.NoError(t, err)
	require.EqualValues(t, 0o750, info.Mode().Perm())
	for name, mode := range map[string]os.FileMode{"home/job/.ssh": 0o700, "home/job/.ssh/authorized_keys": 0o600} {
		info, err := os.Stat(filepath.Join(upper, name))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), name)
		uid, gid := owner(t, filepath.Join(upper, name))
		require.EqualValues(t, base+7, uid)
		require.EqualValues(t, base+8, gid)
	}
	require.ErrorContains(t, w.Write(File{Name: "away/passwd", Mode: 0o600}), "/away is not a directory in the image")
	require.True(t, w.IsLink("away"))
}

// A tree that is written to in place holds links of the image's makers.
func TestWriterIsNotLedOut(t *testing.T) {
	sandbox.Need(t)
	outside, tree := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(outside, "victim"), filepath.Join(tree, "resolv.conf")))
	require.NoError(t, os.Symlink(outside, filepath.Join(tree, "etc")))
	w, err := NewWriter(tree, tree, 0)
	require.NoError(t, err)
	defer w.Close()
	require.NoError(t, w.Write(File{Name: "resolv.conf", Content: "x", Mode: 0o644}), "the link itself is replaced")
	require.Error(t, w.Write(File{Name: "etc/passwd", Content: "x", Mode: 0o644}))
	left, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, left)
}
