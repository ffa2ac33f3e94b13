package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// die ends a plugin as far as its directory can tell, and leaves its socket.
func (d socketDir) die(t *testing.T) {
	t.Helper()
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(d.path, "plugin1"), Net: "unix"})
	require.NoError(t, err)
	socket.SetUnlinkOnClose(false)
	require.NoError(t, socket.Close())
	require.NoError(t, d.lock.Close())
}

func TestStartRemovesSocketsOfDeadPluginsOnly(t *testing.T) {
	base := shortDir(t)
	live, err := makeSocketDir(base)
	require.NoError(t, err)
	dead, err := makeSocketDir(base)
	require.NoError(t, err)
	dead.die(t)
	// What only looks like ours.
	theirs := filepath.Join(base, socketDirPrefix+"source")
	require.NoError(t, os.Mkdir(theirs, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(theirs, "kept"), nil, 0o600))
	link := filepath.Join(base, socketDirPrefix+"link")
	elsewhere := shortDir(t)
	require.NoError(t, os.Symlink(elsewhere, link))
	file := filepath.Join(base, socketDirPrefix+"file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))

	sweepSocketDirs(base)
	require.NoDirExists(t, dead.path)
	require.DirExists(t, live.path)
	require.FileExists(t, filepath.Join(theirs, "kept"))
	require.DirExists(t, elsewhere)
	require.FileExists(t, file)

	live.remove(hclog.NewNullLogger())
	require.NoDirExists(t, live.path)
}

// Who had the lock before may have removed the directory, and a third may have
// made another one by that name.
func TestSocketDirectoryIsNotLockedOnceItIsRemoved(t *testing.T) {
	path := filepath.Join(shortDir(t), "dir")
	require.NoError(t, os.Mkdir(path, 0o700))
	dir, err := os.Open(path)
	require.NoError(t, err)
	defer dir.Close()
	for range 2 {
		require.NoError(t, os.Remove(path))
		locked, err := lockOpen(dir)
		require.NoError(t, err)
		require.False(t, locked)
		require.NoError(t, os.Mkdir(path, 0o700))
	}
}

// A start that sweeps may come between the making and the locking of another.
// Each sweeps once, so that none is swept away more often than it tries.
func TestPluginsThatStartTogetherKeepTheirSocketDirectories(t *testing.T) {
	base := shortDir(t)
	for range 50 {
		var starts errgroup.Group
		var dirs [socketDirTries]socketDir
		for i := range dirs {
			starts.Go(func() (err error) {
				sweepSocketDirs(base)
				dirs[i], err = makeSocketDir(base)
				return err
			})
		}
		require.NoError(t, starts.Wait())
		for _, dir := range dirs {
			require.DirExists(t, dir.path)
			require.NoError(t, dir.lock.Close())
		}
	}
	sweepSocketDirs(base)
	left, err := os.ReadDir(base)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestSocketDirectoryIsRefusedWhereNoSocketFits(t *testing.T) {
	base := filepath.Join(shortDir(t), strings.Repeat("long", 25))
	require.NoError(t, os.Mkdir(base, 0o700))
	_, err := makeSocketDir(base)
	require.ErrorContains(t, err, "no room")
	left, err := os.ReadDir(base)
	require.NoError(t, err)
	require.Empty(t, left)
}

// shortDir is a directory whose path leaves room for those of sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mayfly-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}
