//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

const (
	// identityMark says, until the guest ends, that it has its identity: an
	// agent that was started again opens the door at once.
	identityMark = "/run/mayfly/identity"
	// sshdLimit is how many connections there may be at once.
	sshdLimit = 1000
)

// sshd is the guest's SSH server for one connection, on its standard input and
// output. It reads the host key when it starts, unlike one that listens: that
// would have to be started after the identity is known, and every fork would
// wait for it.
var sshd = []string{"/usr/sbin/sshd", "-i", "-e", "-h", "/" + guest.HostKeyPath,
	"-o", "UseDNS=no", "-o", "PasswordAuthentication=no", "-o", "MaxSessions=100",
	// It does not listen, but sorts all addresses that it might, unless there is one.
	"-o", "ListenAddress=127.0.0.1"}

// door is the guest's SSH port. Nothing listens there until it is opened.
type door struct {
	server []string // the command line for one connection
	log    *slog.Logger
}

// open listens at the address, and serves what comes until ctx ends.
func (d door) open(ctx context.Context, address string) (net.Addr, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // nobody asks for it, and its code costs an emulated fork 10 ms
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("opening the SSH port: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go d.serve(ctx, listener)
	return listener.Addr(), nil
}

func (d door) serve(ctx context.Context, listener net.Listener) {
	slots := make(chan struct{}, sshdLimit)
	for {
		slots <- struct{}{}
		conn, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files
			d.log.Warn("accepting an SSH connection", "error", err)
			sleep(ctx, time.Second)
			<-slots
			continue
		}
		go func() {
			defer func() { <-slots }()
			if err := d.handOver(conn); err != nil {
				d.log.Warn("serving an SSH connection", "error", err)
			}
		}()
	}
}

// handOver runs an SSH server on the connection. That ends with its client,
// not with the agent: jobs go on when the agent is started again.
func (d door) handOver(conn net.Conn) error {
	defer conn.Close()
	socket, err := conn.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	cmd := exec.Command(d.server[0], d.server[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = socket, socket, os.Stderr
	cmd.Env = stepEnvironment
	err = cmd.Start()
	_, _ = socket.Close(), conn.Close() // the server has its own
	if err != nil {
		return err
	}
	// Jobs inherit it, and must not be what the kernel spares as it spares us.
	protection := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "oom_score_adj")
	if err := os.WriteFile(protection, []byte("0"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("giving up the agent's own protection", "error", err)
	}
	_ = cmd.Wait() // how a client's connection ended is not ours to judge
	return nil
}

// openSSH opens the door of this guest.
func openSSH(ctx context.Context, log *slog.Logger) error {
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // sshd's own, for its unprivileged half
		return err
	}
	if _, err := (door{sshd, log}).open(ctx, ":"+strconv.Itoa(network.SSHPort)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(identityMark), 0o755); err != nil {
		return err
	}
	return os.WriteFile(identityMark, nil, 0o600)
}

// hasIdentity says that an earlier agent of this guest was told who it is.
func hasIdentity() bool {
	_, err := os.Stat(identityMark)
	return err == nil
}
