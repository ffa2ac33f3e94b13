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
	// identityMark is a file that says, until the guest ends, that it has its
	// identity: an agent that was started again opens the SSH port at once.
	identityMark = "/run/mayfly/identity"
	// sshdLimit is how many connections there may be at once.
	sshdLimit = 1000
)

// sshd is the guest's SSH server for one connection, on its standard input and
// output. It reads the host key when the connection is there. An sshd that
// listens would read it at its start, so that it could be started only after the
// rekey, and every fork would wait for that.
var sshd = []string{"/usr/sbin/sshd", "-i", "-e", "-h", "/" + guest.HostKeyPath,
	"-o", "UseDNS=no", "-o", "PasswordAuthentication=no", "-o", "MaxSessions=100",
	// With one address to listen on it does not look up all the host's addresses,
	// which it would do even though it does not listen.
	"-o", "ListenAddress=127.0.0.1"}

// sshPort is the guest's SSH port. Nothing listens there until it is opened.
type sshPort struct {
	server []string // the command line for one connection
	log    *slog.Logger
}

// open listens at the address, and serves what comes until ctx ends.
func (p sshPort) open(ctx context.Context, address string) (net.Addr, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // no client asks for it, and setting it up costs an emulated fork 10 ms
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("opening the SSH port: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go p.serve(ctx, listener)
	return listener.Addr(), nil
}

func (p sshPort) serve(ctx context.Context, listener net.Listener) {
	slots := make(chan struct{}, sshdLimit)
	for {
		slots <- struct{}{}
		conn, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files
			p.log.Warn("accepting an SSH connection", "error", err)
			sleep(ctx, time.Second)
			<-slots
			continue
		}
		go func() {
			defer func() { <-slots }()
			if err := p.handOver(conn); err != nil {
				p.log.Warn("serving an SSH connection", "error", err)
			}
		}()
	}
}

// handOver runs an SSH server on the connection. The server ends with its
// client, not with the agent: jobs go on when the agent is started again.
func (p sshPort) handOver(conn net.Conn) error {
	defer conn.Close()
	socket, err := conn.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	cmd := exec.Command(p.server[0], p.server[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = socket, socket, os.Stderr
	cmd.Env = stepEnvironment
	err = cmd.Start()
	_, _ = socket.Close(), conn.Close() // the server has its own
	if err != nil {
		return err
	}
	// Jobs have the server's score. With the agent's they would be the last that
	// the kernel kills when memory runs out.
	protection := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "oom_score_adj")
	if err := os.WriteFile(protection, []byte("0"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.log.Warn("giving up the agent's own protection", "error", err)
	}
	_ = cmd.Wait() // an error says only how the client's session ended
	return nil
}

// openSSH opens the SSH port of this guest, and leaves the identityMark.
func openSSH(ctx context.Context, log *slog.Logger) error {
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // sshd's own, for its unprivileged half
		return err
	}
	if _, err := (sshPort{sshd, log}).open(ctx, ":"+strconv.Itoa(network.SSHPort)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(identityMark), 0o755); err != nil {
		return err
	}
	return os.WriteFile(identityMark, nil, 0o600)
}
