package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

var _ pool.Entrance = SSH{}

// Enter runs a session in a worker, and returns its exit code. The host key must be that
// of the identity. An error says that the session did not run to its end.
func (s SSH) Enter(
	ctx context.Context, addr netip.AddrPort, identity guest.Identity, key pool.Key, do pool.Session,
) (exit int, err error) {
	config, err := clientConfig(identity, key)
	if err != nil {
		return 0, err
	}
	conn, err := s.connect(ctx, addr)
	if err != nil {
		return 0, because(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	err = withSession(conn, addr.String(), config, func(session *ssh.Session) error { return run(session, do) })
	var ran *ssh.ExitError
	switch {
	case errors.As(err, &ran):
		return ran.ExitStatus(), nil
	case err != nil:
		return 0, because(ctx, err)
	}
	return 0, nil
}

func run(session *ssh.Session, do pool.Session) error {
	session.Stdout, session.Stderr = do.Stdout, do.Stderr
	// With Session.Stdin, Wait would wait for an end of input that may never come.
	input, err := session.StdinPipe()
	if err != nil {
		return err
	}
	if do.Terminal != nil {
		if err := give(session, do.Terminal); err != nil {
			return fmt.Errorf("asking for a terminal: %w", err)
		}
	}
	if do.Command == "" {
		err = session.Shell()
	} else {
		err = session.Start(do.Command)
	}
	if err != nil {
		return fmt.Errorf("starting the session: %w", err)
	}
	go func() {
		_, _ = io.Copy(input, do.Stdin)
		_ = input.Close()
	}()
	return session.Wait()
}

// give has a session run in a terminal of the same kind, which follows the size of this one.
func give(session *ssh.Session, t *pool.Terminal) error {
	if err := session.RequestPty(t.Kind, t.Height, t.Width, ssh.TerminalModes{}); err != nil {
		return err
	}
	go func() {
		for size := range t.Resized {
			_ = session.WindowChange(size.Height, size.Width) // one that has ended has no size
		}
	}()
	return nil
}
