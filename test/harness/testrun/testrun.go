// Package testrun holds what all packages of one test run have in common, and
// makes each of it once: the program, the golden image of virtual machines, and
// how fast this machine has shown itself to be. Only tests import it.
//
// All of it lies in one directory. `make test` makes that and removes it at its
// end; a package that is tested alone has one of its own, unless the
// environment names one:
//
//	MAYFLY_TEST_RUN=/var/tmp/mayfly-run go test ./backend/qemu
//
// keeps the image for the next time.
package testrun

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
)

// Variable is the environment variable that names the directory of the run.
const Variable = "MAYFLY_TEST_RUN"

// Screenshots is the environment variable that names the directory in which tests keep
// pictures of what a browser showed; they keep none where it is empty.
const Screenshots = "MAYFLY_TEST_SCREENSHOTS"

// packageVariable names the directory below it that one package has for itself.
const packageVariable = "MAYFLY_TEST_PACKAGE"

// Open makes the directory of the run unless the environment names one, and
// returns what removes it then.
func Open() (closeRun func(), err error) {
	if os.Getenv(Variable) != "" {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "mf-")
	if err != nil {
		return nil, err
	}
	return func() { _ = os.RemoveAll(dir) }, os.Setenv(Variable, dir)
}

// OpenPackage does what Open does, and makes the directory of this package in
// that of the run. Package sandbox calls it.
func OpenPackage() (closePackage func(), err error) {
	closeRun, err := Open()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(os.Getenv(Variable), "")
	if err != nil {
		closeRun()
		return nil, err
	}
	return func() { _ = os.RemoveAll(dir); closeRun() }, os.Setenv(packageVariable, dir)
}

// Directory is where a package keeps what its tests share. Its path is short,
// for it may hold sockets. Package sandbox removes it, and ends the processes
// whose arguments name it.
func Directory() string { return os.Getenv(packageVariable) }

func dir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv(Variable)
	require.NotEmpty(t, dir, "the package's TestMain does not call sandbox.Main")
	return dir
}

// Program is the path of the program, built as a release is. It is the agent of
// the guests as well.
func Program(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(dir(t), "bin")
	path := filepath.Join(bin, ProgramName)
	once(t, path, func() error {
		_, err := Build(bin)
		return err
	})
	return path
}

// once makes what is at path, unless it is there. Of all processes of the run
// one makes it, and the others wait.
func once(t testing.TB, path string, makeIt func() error) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	lock, err := filelock.Acquire(context.Background(), path+".lock")
	require.NoError(t, err)
	defer func() { require.NoError(t, lock.Release()) }()
	if _, err := os.Stat(path); err == nil {
		return
	}
	require.NoError(t, makeIt(), "making %s", path)
}

// write makes a file that is there whole or not at all.
func write(path, text string) error {
	part := path + ".part"
	if err := os.WriteFile(part, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(part, path)
}
