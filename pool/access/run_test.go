package access_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

// TestRunRunsCommandsAsJobsDo has a server with a real shell.
func TestRunRunsCommandsAsJobsDo(t *testing.T) {
	identity, key := newIdentity(t)
	b := synthetic.New(synthetic.Options{})
	m, err := b.Start(t.Context(), image.Golden{}, backend.Spec{ID: "p-a", Dir: t.TempDir(), Identity: identity})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Destroy(context.Background(), "p-a")) })
	run := func(ctx context.Context, command string) error {
		return access.SSH{}.Run(ctx, m.Address(), identity, key, command)
	}
	require.NoError(t, run(limit(t), `test "$USER" = runner`))

	err = run(limit(t), "echo one; echo two >&2; exit 7")
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
	require.ErrorIs(t, access.SSH{}.Run(limit(t), m.Address(), other, key, "true"), sshkey.ErrHostKey)
	require.Error(t, access.SSH{}.Run(limit(t), deafPort(t), identity, key, "true"))
}
