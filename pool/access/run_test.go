package access_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

// TestRunRunsCommandsAsJobsDo has a server with a real shell.
func TestRunRunsCommandsAsJobsDo(t *testing.T) {
	addr, identity, key, _ := inside(t)
	run := func(ctx context.Context, command string) error {
		return access.SSH{}.Run(ctx, addr, identity, key, command)
	}
	require.NoError(t, run(limit(t), `test "$USER" = runner`))

	err := run(limit(t), "echo one; echo two >&2; exit 7")
	var exit *guest.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.Code)
	require.ErrorContains(t, err, "exit code 7; last lines:")
	require.ErrorContains(t, err, "one")
	require.ErrorContains(t, err, "two")

	late := errors.New("it takes too long")
	ctx, cancel := context.WithCancelCause(limit(t))
	begun := filepath.Join(t.TempDir(), "begun")
	go func() {
		for ctx.Err() == nil { // which has a limit of its own
			if _, err := os.Stat(begun); err == nil {
				cancel(late)
			}
			time.Sleep(time.Millisecond)
		}
	}()
	require.ErrorIs(t, run(ctx, "touch "+begun+"; sleep 100"), late)

	other, _ := newIdentity(t)
	require.ErrorIs(t, access.SSH{}.Run(limit(t), addr, other, key, "true"), sshkey.ErrHostKey)
	require.Error(t, access.SSH{}.Run(limit(t), deafPort(t), identity, key, "true"))
}

// inside starts a worker that is a shell of this host, and returns its directory, its home.
func inside(t *testing.T) (addr netip.AddrPort, identity guest.Identity, key pool.Key, home string) {
	t.Helper()
	identity, key = newIdentity(t)
	home = t.TempDir()
	b := synthetic.New(synthetic.Options{})
	m, err := b.Start(t.Context(), image.Golden{}, backend.Spec{ID: "p-a", Dir: home, Identity: identity})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Destroy(context.Background(), "p-a")) })
	return m.Address(), identity, key, home
}

func TestASessionIsItsCommandsOwn(t *testing.T) {
	addr, identity, key, _ := inside(t)
	enter := func(ctx context.Context, command, stdin string) (stdout, stderr string, exit int, err error) {
		var out, problems bytes.Buffer
		exit, err = access.SSH{}.Enter(ctx, addr, identity, key, pool.Session{
			Command: command, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &problems,
		})
		return out.String(), problems.String(), exit, err
	}
	all := make([]byte, 1<<17) // in which no two pieces are alike
	for i := range all {
		all[i] = byte(i ^ i>>8)
	}
	for _, c := range []struct {
		command, stdin, stdout, stderr string
		exit                           int
	}{
		{command: "cat", stdin: string(all), stdout: string(all)},
		{command: "echo one; echo two >&2; exit 7", stdout: "one\n", stderr: "two\n", exit: 7},
		{command: "", stdin: "echo by the shell; exit 3", stdout: "by the shell\n", exit: 3},
	} {
		stdout, stderr, exit, err := enter(limit(t), c.command, c.stdin)
		require.NoError(t, err)
		require.True(t, stdout == c.stdout, "%q: %.100q", c.command, stdout)
		require.Equal(t, c.stderr, stderr)
		require.Equal(t, c.exit, exit)
	}
	late := errors.New("it takes too long")
	ctx, cancel := context.WithCancelCause(limit(t))
	_, err := access.SSH{}.Enter(ctx, addr, identity, key, pool.Session{
		Command: "echo begun; sleep 100", Stdin: strings.NewReader(""), Stderr: io.Discard,
		Stdout: whenWritten(func() { cancel(late) }),
	})
	require.ErrorIs(t, err, late)
	identity, _ = newIdentity(t)
	_, _, _, err = enter(limit(t), "true", "")
	require.ErrorIs(t, err, sshkey.ErrHostKey)
}

// whenWritten is called for each piece of what is written.
type whenWritten func()

func (w whenWritten) Write(p []byte) (int, error) { w(); return len(p), nil }

func TestAJobAsksByAFile(t *testing.T) {
	addr, identity, key, home := inside(t)
	asked := func() (string, bool) {
		words, asked, err := access.SSH{}.HoldAsked(limit(t), addr, identity, key)
		require.NoError(t, err)
		return words, asked
	}
	_, yes := asked()
	require.False(t, yes)
	file := filepath.Join(home, access.HoldFile)
	for _, text := range []string{"", "job 17\n"} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		words, yes := asked()
		require.True(t, yes)
		require.Equal(t, text, words)
	}
	require.NoError(t, os.WriteFile(file, bytes.Repeat([]byte("x"), 1<<20), 0o600))
	words, yes := asked()
	require.True(t, yes)
	require.Len(t, words, 1<<10)
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Mkdir(file, 0o700))
	_, _, err := access.SSH{}.HoldAsked(limit(t), addr, identity, key)
	require.ErrorContains(t, err, "looking for mayfly-hold in its home: exit code 1")
	_, _, err = access.SSH{}.HoldAsked(limit(t), deafPort(t), identity, key)
	require.Error(t, err)
}
