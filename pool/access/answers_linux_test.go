package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serve has whoever connects be told something, and returns the address. The
// connections stay open until the test ends.
func serve(t *testing.T, said string) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(t.Context(), func() { conn.Close() })
			fmt.Fprint(conn, said)
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

func TestWhoAnswers(t *testing.T) {
	require.NoError(t, SSH{}.Answers(t.Context(), serve(t, "SSH-2.0-OpenSSH_9.2\r\n")))
	require.NoError(t, SSH{}.Answers(t.Context(), serve(t, "hello\r\nSSH-2.0-x\r\n")))

	silent := errors.New("no answer in time")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, silent)
	defer cancel()
	require.ErrorIs(t, SSH{}.Answers(ctx, serve(t, "")), silent)

	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	gone := listener.Addr().(*net.TCPAddr).AddrPort()
	require.NoError(t, listener.Close())
	require.ErrorContains(t, SSH{}.Answers(t.Context(), gone), "connection refused")
}

// A worker with a job is the job's.
func TestWhoIsConnectedIsNotDisturbed(t *testing.T) {
	addr := serve(t, "no SSH server\n")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.Error(t, SSH{}.Answers(ctx, addr))
	job, err := net.Dial("tcp4", addr.String())
	require.NoError(t, err)
	defer job.Close()
	require.NoError(t, SSH{}.Answers(t.Context(), addr))
}
