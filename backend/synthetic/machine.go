package synthetic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// handshakeTimeout ends a connection whose handshake does not end. It is long,
// since a busy host is slow and clients have limits of their own.
const handshakeTimeout = 2 * time.Minute

// machine is an SSH server with the identity of one worker.
type machine struct {
	id       string
	dir      string
	user     string
	config   *ssh.ServerConfig
	listener net.Listener

	// ctx is the context of all connections and processes; the first call of
	// ended says why the machine ends.
	ctx   context.Context
	ended context.CancelCauseFunc
	work  sync.WaitGroup // connections and processes
	done  chan struct{}
}

var _ backend.Machine = (*machine)(nil)

// newMachine takes the worker's identity and opens its port, which answers when
// serve is called.
func newMachine(spec backend.Spec) (*machine, error) {
	config, err := serverConfig(spec.Identity)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening its port: %w", err)
	}
	ctx, ended := context.WithCancelCause(context.Background())
	return &machine{
		id: spec.ID, dir: spec.Dir, user: spec.Identity.User,
		config: config, listener: listener,
		ctx: ctx, ended: ended, done: make(chan struct{}),
	}, nil
}

// ID is the worker's id.
func (m *machine) ID() string { return m.id }

// Address is the port that the kernel chose.
func (m *machine) Address() netip.AddrPort {
	return m.listener.Addr().(*net.TCPAddr).AddrPort()
}

// How is always a clone, since there is no memory to fork.
func (m *machine) How() string { return backend.Clone }

// Done is closed when nothing of the machine runs any more.
func (m *machine) Done() <-chan struct{} { return m.done }

// Err says why the machine ended, as soon as it begins to end.
func (m *machine) Err() error { return context.Cause(m.ctx) }

// end ends the machine; the first reason counts. It does not wait.
func (m *machine) end(reason string) {
	m.ended(fmt.Errorf("%w: %s", guest.ErrGone, reason))
	m.close()
}

func (m *machine) close() { m.listener.Close() }

// serve answers at the port until the machine ends.
func (m *machine) serve() {
	defer close(m.done)
	for {
		conn, err := m.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil { // such as too many open files
			m.end(fmt.Sprintf("its port broke: %v", err))
			break
		}
		m.work.Go(func() { m.serveConn(conn) })
	}
	m.work.Wait()
}

// serveConn lives as long as one connection and all sessions in it.
func (m *machine) serveConn(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(m.ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return
	}
	server, channels, requests, err := ssh.NewServerConn(conn, m.config)
	if err != nil {
		return
	}
	defer server.Close()
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return
	}
	ctx, gone := context.WithCancel(m.ctx)
	defer gone() // a job whose client went away is killed
	m.work.Go(func() { ssh.DiscardRequests(requests) })
	for channel := range channels {
		m.work.Go(func() { m.serveChannel(ctx, channel) })
	}
}

// serverConfig has the host key of an identity, and lets in its user with its
// authorized key and nobody else.
func serverConfig(identity guest.Identity) (*ssh.ServerConfig, error) {
	host, err := ssh.ParsePrivateKey([]byte(identity.HostKey))
	if err != nil {
		return nil, fmt.Errorf("reading its host key: %w", err)
	}
	authorized, _, _, _, err := ssh.ParseAuthorizedKey([]byte(identity.AuthorizedKey))
	if err != nil {
		return nil, fmt.Errorf("reading its authorized key: %w", err)
	}
	if identity.User == "" {
		return nil, errors.New("its identity has no user")
	}
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if conn.User() != identity.User || !bytes.Equal(key.Marshal(), authorized.Marshal()) {
				return nil, fmt.Errorf("%s may not log in with this key", conn.User())
			}
			return &ssh.Permissions{}, nil
		},
	}
	config.AddHostKey(host)
	return config, nil
}
