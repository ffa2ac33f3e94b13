package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

var _ pool.Commander = SSH{}

// Run runs a shell command as the worker's user, as jobs do. One that fails is an error
// that says how, and what it said last.
func (s SSH) Run(
	ctx context.Context, addr netip.AddrPort, identity guest.Identity, key pool.Key, command string,
) error {
	config, err := clientConfig(identity, key)
	if err != nil {
		return err
	}
	conn, err := s.connect(ctx, addr)
	if err != nil {
		return because(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	said := lines.New(func(string) {})
	err = withSession(conn, addr.String(), config, func(session *ssh.Session) error {
		output := lines.Serial(said)
		session.Stdout, session.Stderr = output, output
		return session.Run(command)
	})
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.As(err, &exit):
		err = &guest.ExitError{Code: exit.ExitStatus()}
	}
	return fmt.Errorf("%w%s", err, said.Quote())
}

func (s SSH) connect(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	dial := s.dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return dial(ctx, "tcp", addr.String())
}

// withSession logs in over a connection, and opens a session.
func withSession(
	conn net.Conn, addr string, config *ssh.ClientConfig, do func(*ssh.Session) error,
) error {
	c, channels, requests, err := ssh.NewClientConn(conn, addr, config)
	if err != nil {
		return err
	}
	client := ssh.NewClient(c, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return fmt.Errorf("opening a session: %w", err)
	}
	defer session.Close()
	return do(session)
}
