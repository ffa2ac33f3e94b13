//go:build linux

package user

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestAnOwnerHasOneUser(t *testing.T) {
	book := New(filepath.Join(t.TempDir(), "users"))
	require.NoError(t, book.Give("p/a"), "there is nothing yet")
	one, err := book.Take(t.Context(), "p/a")
	require.NoError(t, err)
	require.True(t, Ours(one))
	again, err := book.Take(t.Context(), "p/a")
	require.NoError(t, err)
	require.Equal(t, one, again)
	other, err := book.Take(t.Context(), "p/b")
	require.NoError(t, err)
	require.NotEqual(t, one, other)
	owners, err := book.Owners()
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"p/a", "p/b"}, owners)
	require.NoError(t, book.Give("p/a"))
	require.NoError(t, book.Give("p/a"))
	owners, err = book.Owners()
	require.NoError(t, err)
	require.Equal(t, []string{"p/b"}, owners)
}

func TestTheRangeGoesRound(t *testing.T) {
	require.False(t, Ours(First-1))
	require.False(t, Ours(First+Count))
	require.False(t, Ours(0))
	require.Less(t, First+Count, 1<<31, "a user that is no negative number anywhere")
	dir := filepath.Join(t.TempDir(), "users")
	book := New(dir)
	first, err := book.Take(t.Context(), "p/a")
	require.NoError(t, err)
	require.Equal(t, startIn(dir), first)
}

// TestAUserWithAProcessIsNotTaken has a process that nobody here knows of.
func TestAUserWithAProcessIsNotTaken(t *testing.T) {
	need.Root(t)
	dir := filepath.Join(t.TempDir(), "users")
	foreign := exec.Command("sleep", "600")
	begin := uint32(startIn(dir))
	foreign.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: begin, Gid: begin}}
	require.False(t, hasProcesses(strconv.Itoa(int(begin))))
	require.NoError(t, foreign.Start())
	t.Cleanup(func() { _, _ = foreign.Process.Kill(), foreign.Wait() })
	taken, err := New(dir).Take(t.Context(), "p/a")
	require.NoError(t, err)
	require.NotEqual(t, int(begin), taken)
}
