package seed

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// example is a volume with a big file, written to a directory; its files are
// those that are expected back.
func example(t *testing.T) (path string, want map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	agent := bytes.Repeat([]byte("agent\x00"), 4<<20/6+1)
	host := filepath.Join(dir, "fleeting-plugin-mayfly")
	require.NoError(t, os.WriteFile(host, agent, 0o755))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(host, link))

	volume := Volume{
		UserData: exampleUserData(),
		MetaData: cloudinit.MetaData{InstanceID: "i", LocalHostname: "mayfly"},
		Network:  exampleNetwork(),
		Files:    map[string]string{"mayfly-agent": link, "gitlab-runner_linux.amd64": host},
	}
	path = filepath.Join(dir, "seed.iso")
	require.NoError(t, Write(path, volume))
	want, err := volume.texts()
	require.NoError(t, err)
	want["mayfly-agent"], want["gitlab-runner_linux.amd64"] = agent, agent

	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 3, "something is left beside the volume")
	kept, err := os.ReadFile(host)
	require.NoError(t, err)
	require.True(t, bytes.Equal(agent, kept), "the file of the host was changed")
	return path, want
}

func TestVolumeIsReadBack(t *testing.T) {
	path, want := example(t)
	storage, err := file.OpenFromPath(path, true)
	require.NoError(t, err)
	defer storage.Close()
	iso, err := iso9660.Read(storage, 0, 0, blockSize)
	require.NoError(t, err)
	require.Equal(t, "cidata", strings.TrimRight(iso.Label(), " "))
	entries, err := iso.ReadDir(".")
	require.NoError(t, err)
	require.Len(t, entries, len(want))
	for name, content := range want {
		opened, err := iso.Open(name)
		require.NoError(t, err, name)
		got, err := io.ReadAll(opened)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, got), name)
	}
}

// What reads the volume in a guest is the kernel.
func TestVolumeIsMounted(t *testing.T) {
	path, want := example(t)
	at := filepath.Join(t.TempDir(), "mnt")
	require.NoError(t, os.Mkdir(at, 0o755))
	if out, err := exec.Command("mount", "-t", "iso9660", "-o", "loop,ro", path, at).CombinedOutput(); err != nil {
		t.Skipf("cannot mount ISO 9660 here: %s", out)
	}
	defer exec.Command("umount", at).Run()
	for name, content := range want {
		got, err := os.ReadFile(filepath.Join(at, name))
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, got), name)
	}
}

// xorriso is the strictest reader that there is.
func TestVolumeIsExtracted(t *testing.T) {
	need.Programs(t, "xorriso")
	path, want := example(t)
	to := filepath.Join(t.TempDir(), "out")
	out, err := exec.Command("xorriso", "-osirrox", "on", "-indev", path, "-extract", "/", to).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "Volume id    : 'cidata'")
	for name, content := range want {
		got, err := os.ReadFile(filepath.Join(to, name))
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, got), name)
	}
	info, err := os.Stat(filepath.Join(to, "mayfly-agent"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
}

func TestNamesThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	host := filepath.Join(dir, "x")
	require.NoError(t, os.WriteFile(host, nil, 0o600))
	for _, name := range []string{"", "..", "a/b", "user-data", "-x", "a b", ".hidden"} {
		path := filepath.Join(dir, "seed.iso")
		require.Error(t, Write(path, Volume{Files: map[string]string{name: host}}), name)
		require.NoFileExists(t, path)
	}
}

func TestMissingFileLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	err := Write(filepath.Join(dir, "seed.iso"), Volume{Files: map[string]string{"agent": filepath.Join(dir, "missing")}})
	require.ErrorIs(t, err, os.ErrNotExist)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestExistingVolumeIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seed.iso")
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	require.ErrorIs(t, Write(path, Volume{}), os.ErrExist)
	require.FileExists(t, path)
}
