package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/registry"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

var (
	// shared is where the releases are that the tests look at.
	shared string
	// source is the top of the repository, wherever a test goes.
	source string
)

func TestMain(m *testing.M) {
	var err error
	if source, err = filepath.Abs(".."); err != nil {
		panic(err)
	}
	os.Exit(sandbox.Main(m, sandbox.Directory(&shared)))
}

// made is a release, with the public key of who signed it.
type made struct{ dir, key string }

// first is the source of the release that most tests look at.
func first() string { return filepath.Join(shared, "first") }

var making sync.Mutex

// here is the platform of this machine, the only one that tests build for.
var here = platform{runtime.GOOS, runtime.GOARCH}

// makeIn makes a release of a version in a copy of the source at dir, unless it is there.
// It takes a minute, which tests before each commit do not have.
func makeIn(t *testing.T, dir, version string) made {
	t.Helper()
	need.Programs(t, "go", "git")
	if testing.Short() {
		t.Skip("-short leaves out what makes a release")
	}
	making.Lock()
	defer making.Unlock()
	m := made{filepath.Join(dir, "dist-"+version), filepath.Join(dir, "cosign.pub")}
	if _, err := os.Stat(m.dir); err == nil {
		return m
	}
	if _, err := os.Stat(dir); err != nil {
		copySource(t, dir)
		private, public := registry.Keys(t)
		require.NoError(t, os.Rename(private, filepath.Join(dir, "cosign.key")))
		require.NoError(t, os.Rename(public, m.key))
	}
	release := exec.CommandContext(t.Context(), ourProgram(t),
		"-version", version, "-platforms", here.String(), "-into", m.dir, "-key", "cosign.key")
	release.Dir, release.Env = dir, append(os.Environ(), "SOURCE_DATE_EPOCH=1796031062")
	said, err := release.CombinedOutput()
	require.NoError(t, err, string(said))
	return m
}

// ourProgram is this program, built without the race detector, by which packing takes minutes.
func ourProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(shared, "release")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, ".")
	build.Dir = filepath.Join(source, "release")
	said, err := build.CombinedOutput()
	require.NoError(t, err, string(said))
	return program
}

// copySource copies what git knows of, and what it would know of after `git add`.
func copySource(t *testing.T, to string) {
	t.Helper()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = source
	names, err := list.Output()
	require.NoError(t, err)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(source, name))
		if os.IsNotExist(err) {
			continue // removed, and not yet committed
		}
		require.NoError(t, err)
		path := filepath.Join(to, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, text, 0o644))
	}
}

// TestTwoReleasesAreEqual makes one elsewhere, by a user with another umask.
func TestTwoReleasesAreEqual(t *testing.T) {
	one := makeIn(t, first(), "1.2.3")
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	other := makeIn(t, filepath.Join(shared, "second", "deeper"), "1.2.3")
	names, err := release{dir: one.dir}.files()
	require.NoError(t, err)
	require.Contains(t, names, here.binary())
	require.Contains(t, names, here.String()+"/plugin")
	for _, name := range names {
		if name == signatureFile { // by another key, and new each time
			continue
		}
		want, err := sha256Of(filepath.Join(one.dir, name))
		require.NoError(t, err)
		got, err := sha256Of(filepath.Join(other.dir, name))
		require.NoError(t, err)
		require.Equal(t, want, got, "%s is another one each time", name)
	}
}

func TestDirectoryThatIsNotEmptyIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600))
	err := release{dir: dir}.make(t.Context())
	require.ErrorContains(t, err, dir+" is not empty")
	require.FileExists(t, filepath.Join(dir, "mine"))
}

func TestPlatforms(t *testing.T) {
	all, err := parsePlatforms("linux/amd64  darwin/arm64")
	require.NoError(t, err)
	require.Equal(t, []platform{{"linux", "amd64"}, {"darwin", "arm64"}}, all)
	_, err = parsePlatforms("linux")
	require.ErrorContains(t, err, `"linux": write a system and a processor`)
	_, err = parsePlatforms(" ")
	require.ErrorContains(t, err, "names none")
}
