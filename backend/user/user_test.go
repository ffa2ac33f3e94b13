//go:build linux

package user

import (
	"fmt"
	"os"
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

// TestNobodyIsGivenAnotherUser has files that no book writes: a machine whose user is
// root would be confined by nothing.
func TestNobodyIsGivenAnotherUser(t *testing.T) {
	for _, name := range []string{
		"0", "-1", "1000", strconv.Itoa(First - 1), strconv.Itoa(First + Count), fmt.Sprintf("+%d", First),
	} {
		dir := filepath.Join(t.TempDir(), "users")
		require.NoError(t, os.Mkdir(dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("p/a"), 0o600))
		book := New(dir)
		owners, err := book.Owners()
		require.NoError(t, err)
		require.Empty(t, owners, name)
		uid, err := book.Take(t.Context(), "p/a")
		require.NoError(t, err)
		require.True(t, Ours(uid), name)
	}
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
