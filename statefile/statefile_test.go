package statefile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestReadStopsAtItsLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("x", 10)), 0o600))
	text, err := statefile.Read(path, 10)
	require.NoError(t, err)
	require.Len(t, text, 10)
	_, err = statefile.Read(path, 9)
	require.ErrorIs(t, err, statefile.ErrForeign)
	require.ErrorContains(t, err, path+" has more than 9 bytes")
	_, err = statefile.Read(path+"x", 9)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// foreign makes what no file of ours is, beside something precious.
var foreign = map[string]func(path, precious string) error{
	"symbolic link": func(path, precious string) error { return os.Symlink(precious, path) },
	"pipe":          func(path, _ string) error { return syscall.Mkfifo(path, 0o600) },
	"directory":     func(path, _ string) error { return os.Mkdir(path, 0o700) },
}

func TestWhatIsNoFileOfOursIsNeitherReadNorWritten(t *testing.T) {
	for name, plant := range foreign {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, precious := filepath.Join(dir, "file"), filepath.Join(dir, "precious")
			require.NoError(t, os.WriteFile(precious, []byte("secret"), 0o600))
			require.NoError(t, plant(path, precious))
			_, err := statefile.Read(path, 10)
			require.ErrorIs(t, err, statefile.ErrForeign)
			require.ErrorContains(t, err, path+" is a "+name+", and should be a regular file")
			for _, flags := range []int{os.O_RDWR | os.O_CREATE, os.O_WRONLY | os.O_TRUNC} {
				_, err = statefile.Open(path, flags)
				require.ErrorIs(t, err, statefile.ErrForeign)
			}
			text, err := os.ReadFile(precious)
			require.NoError(t, err)
			require.Equal(t, "secret", string(text))
		})
	}
}

func TestNothingIsMadeWhereADanglingLinkLeads(t *testing.T) {
	dir := t.TempDir()
	path, elsewhere := filepath.Join(dir, "file"), filepath.Join(dir, "elsewhere")
	require.NoError(t, os.Symlink(elsewhere, path))
	_, err := statefile.Open(path, os.O_RDWR|os.O_CREATE)
	require.ErrorIs(t, err, statefile.ErrForeign)
	require.NoFileExists(t, elsewhere)
}

func TestOpenMakesAFileForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	file, err := statefile.Open(path, os.O_RDWR|os.O_CREATE)
	require.NoError(t, err)
	defer file.Close()
	info, err := file.Stat()
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
}

func TestDirectories(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, statefile.CheckDirectory(dir))
	require.NoError(t, statefile.CheckDirectory(filepath.Join(dir, "missing")))
	link, file := filepath.Join(dir, "link"), filepath.Join(dir, "file")
	require.NoError(t, os.Symlink(t.TempDir(), link))
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, statefile.CheckDirectory(link), link+" is a symbolic link, and should be a directory")
	require.ErrorContains(t, statefile.CheckDirectory(file), file+" is a regular file, and should be a directory")
	require.ErrorIs(t, statefile.CheckDirectory(filepath.Join(file, "below")), syscall.ENOTDIR)
}

func TestWhatAnotherUserOwnsIsRefused(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("planted"), 0o600))
	for _, owned := range []string{path, dir} {
		require.NoError(t, os.Chown(owned, 1234, 1234))
	}
	_, err := statefile.Read(path, 10)
	require.ErrorIs(t, err, statefile.ErrForeign)
	require.ErrorContains(t, err, path+" belongs to user 1234, and should belong to user 0")
	require.ErrorContains(t, statefile.CheckDirectory(dir), "belongs to user 1234")
}
