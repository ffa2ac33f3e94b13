package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func limit(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func identity(t *testing.T, hostname string) (guest.Identity, string) {
	t.Helper()
	host, err := sshkey.NewPair("host")
	require.NoError(t, err)
	user, err := sshkey.NewPair("user")
	require.NoError(t, err)
	return guest.Identity{
		Hostname: hostname, MachineID: "0123456789abcdef0123456789abcdef",
		HostKey: host.Private, HostKeyPublic: host.Public,
		User: "jobs", AuthorizedKey: user.Public,
	}, user.Private
}

// odd is an SSH server that lets everybody in, and answers what it was told to.
type odd struct {
	host sshkey.Pair
	// answer is asked with what came on standard input; a status below 0 hangs
	// up without one.
	answer func(input string) (output string, status int)
}

func (o odd) open(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { listener.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			o.serve(conn)
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String())
}

func (o odd) serve(conn net.Conn) {
	defer conn.Close()
	host, err := ssh.ParsePrivateKey([]byte(o.host.Private))
	if err != nil {
		panic(err)
	}
	config := &ssh.ServerConfig{PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if string(password) != "secret" {
			return nil, errors.New("no")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		for request := range requests {
			_ = request.Reply(true, nil)
			if request.Type != "exec" {
				continue
			}
			input, _ := io.ReadAll(channel)
			output, status := o.answer(string(input))
			_, _ = io.WriteString(channel, output)
			if status < 0 {
				return
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
			channel.Close()
		}
	}
}

func always(output string, status int) func(string) (string, int) {
	return func(string) (string, int) { return output, status }
}
