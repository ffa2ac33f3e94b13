//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// Directory is a setUp of Main that tells dir where the package keeps what its
// tests share, such as a state directory.
func Directory(dir *string) func() (tearDown func()) {
	return func() func() {
		*dir = testrun.Directory()
		return func() {}
	}
}

// Programs is Directory for programs of the tests' own, which are found there
// before all others.
func Programs(dir *string) func() (tearDown func()) {
	return func() func() {
		*dir = testrun.Directory()
		if err := os.Setenv("PATH", *dir+":"+os.Getenv("PATH")); err != nil {
			panic(err)
		}
		return func() {}
	}
}

// Install builds a fake below test/ into a directory, by the names of all that it
// plays, unless it is there already.
func Install(t testing.TB, dir, fake string, names ...string) {
	t.Helper()
	path := filepath.Join(dir, names[0])
	if _, err := os.Stat(path); err == nil {
		return
	}
	require.NoError(t, testrun.BuildTo(path, "test/"+fake))
	for _, name := range names[1:] {
		require.NoError(t, os.Symlink(names[0], filepath.Join(dir, name)))
	}
}
