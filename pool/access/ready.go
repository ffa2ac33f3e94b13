package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/phase"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

const (
	// dialTimeout is short, because a packet sent before the guest's network
	// was up is lost, and a new try gets through sooner than the kernel's own.
	dialTimeout = time.Second
	// loginTimeout is how long the first login may take; each further one gets
	// twice as long. An emulated guest among many may need more than any fixed
	// time, and logins given up half-way only add to its work.
	loginTimeout = 10 * time.Second
	// dialInterval is the pause while nothing answers.
	dialInterval = 75 * time.Millisecond
	// loginInterval is the pause after a login that failed. OpenSSH 9.8 and
	// later shut out an address whose logins fail too often
	// (PerSourcePenalties), and the runner's job will come from ours.
	loginInterval = 500 * time.Millisecond
)

// Parts of a first login, in their order. What failed tries took is in them.
const (
	PhaseConnect        = "connect"        // something listens
	PhaseKeyExchange    = "key_exchange"   // it has shown its host key
	PhaseAuthentication = "authentication" // it lets the key in
	PhaseSession        = "session"        // it has opened a session
)

// Ready returns nil once the worker answers at the address with the host key
// of its identity, lets its user in with the key, and opens a session. An
// account that may not log in yet is not ready, though its port answers.
func (s SSH) Ready(ctx context.Context, addr netip.AddrPort, identity guest.Identity, key pool.Key) error {
	config, err := clientConfig(identity, key)
	if err != nil {
		return err
	}
	var last error
	for timeout := loginTimeout; ; {
		began := time.Now()
		pause, err := s.try(ctx, addr, config, timeout)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, sshkey.ErrHostKey):
			return fmt.Errorf("logging in at %s: %w", addr, err)
		case ctx.Err() == nil || last == nil: // else the try failed because ctx ended
			last = err
			phase.Hindered(ctx, fmt.Errorf("SSH at %s: %w", addr, err))
		}
		if time.Since(began) >= timeout {
			timeout *= 2
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("SSH at %s: %w; the last try: %w", addr, context.Cause(ctx), last)
		case <-time.After(pause):
		}
	}
}

// clientConfig accepts one host key and offers one key.
func clientConfig(identity guest.Identity, key pool.Key) (*ssh.ClientConfig, error) {
	signer, err := ssh.ParsePrivateKey([]byte(key))
	if err != nil {
		return nil, fmt.Errorf("reading the private key of %s: %w", identity.Hostname, err)
	}
	config := &ssh.ClientConfig{User: identity.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}}
	if err := sshkey.Pin(config, identity.HostKeyPublic); err != nil {
		return nil, fmt.Errorf("pinning the host key of %s: %w", identity.Hostname, err)
	}
	return config, nil
}

// try logs in once. When that fails it also says how long to wait before the
// next time.
func (s SSH) try(
	ctx context.Context, addr netip.AddrPort, config *ssh.ClientConfig, timeout time.Duration,
) (pause time.Duration, err error) {
	dial := s.dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	conn, err := dial(ctx, "tcp", addr.String())
	if err != nil {
		return dialInterval, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	phase.Ended(ctx, PhaseConnect)
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return dialInterval, err
	}
	return loginInterval, login(ctx, conn, addr.String(), config)
}

// login goes as far as a job does before it runs its first command.
func login(ctx context.Context, conn net.Conn, addr string, config *ssh.ClientConfig) error {
	c, channels, requests, err := ssh.NewClientConn(conn, addr, timed(ctx, config))
	if err != nil {
		return err
	}
	phase.Ended(ctx, PhaseAuthentication)
	client := ssh.NewClient(c, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return fmt.Errorf("opening a session: %w", err)
	}
	phase.Ended(ctx, PhaseSession)
	session.Close() // its result says nothing more
	return nil
}

// timed tells ctx when the server has shown its host key, which ends the key
// exchange but for one message.
func timed(ctx context.Context, config *ssh.ClientConfig) *ssh.ClientConfig {
	c := *config
	c.HostKeyCallback = func(name string, remote net.Addr, key ssh.PublicKey) error {
		phase.Ended(ctx, PhaseKeyExchange)
		return config.HostKeyCallback(name, remote, key)
	}
	return &c
}
