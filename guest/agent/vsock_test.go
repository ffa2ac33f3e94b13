//go:build linux

package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// vsockOverUnix is a port that listens on a unix socket in place of vsock,
// which needs a hypervisor; each connection is from whom the test says.
func vsockOverUnix(t *testing.T, from func() uint32) (port *vsockPort, dial func() net.Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "port")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	require.NoError(t, unix.Listen(fd, 1))
	port = &vsockPort{listener: os.NewFile(uintptr(fd), "unix"), accept: func(listener syscall.RawConn) (*os.File, uint32, error) {
		conn, _, err := acceptVsock(listener)
		return conn, from(), err
	}}
	return port, func() net.Conn {
		conn, err := net.Dial("unix", path)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

func always(cid uint32) func() uint32 { return func() uint32 { return cid } }

func TestAgentServesOneConnectionAfterTheOther(t *testing.T) {
	port, dial := vsockOverUnix(t, always(unix.VMADDR_CID_HOST))
	a := &agent{root: t.TempDir(), log: slog.New(slog.DiscardHandler), kernel: &recorder{}, ready: func() error { return nil }}
	ended := make(chan error, 1)
	go func() { ended <- a.serve(context.Background(), port) }()

	for range 3 {
		conn := dial()
		require.NoError(t, guest.NewClient(conn).Run(t.Context(), "true", io.Discard))
		_, err := conn.Write([]byte(`{"half a`)) // and then the host is gone
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	require.NoError(t, port.Close())
	select {
	case err := <-ended:
		require.ErrorContains(t, err, "waiting for the host")
	case <-time.After(time.Minute):
		require.Fail(t, "the agent goes on without a port")
	}
}

func TestOnlyTheHostIsServed(t *testing.T) {
	callers := make(chan uint32, 3)
	for _, cid := range []uint32{unix.VMADDR_CID_LOCAL, 3, unix.VMADDR_CID_HOST} {
		callers <- cid
	}
	port, dial := vsockOverUnix(t, func() uint32 { return <-callers })
	defer port.Close()
	_, err := port.Write([]byte("x"))
	require.ErrorIs(t, err, errHostAway)
	text, served := make([]byte, 5), make(chan error, 1)
	go func() {
		_, err := io.ReadFull(port, text)
		served <- err
	}()
	for range 2 {
		conn := dial()
		require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "hung up on")
	}
	_, err = dial().Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, <-served)
	require.Equal(t, "hello", string(text))
	require.Empty(t, callers)
}

// TestListensOnVsock only listens: to connect needs a hypervisor.
func TestListensOnVsock(t *testing.T) {
	port, err := listenVsock()
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EADDRINUSE) {
		t.Skip(err)
	}
	require.NoError(t, err)
	read := make(chan error, 1)
	go func() {
		_, err := port.Read(make([]byte, 1))
		read <- err
	}()
	time.AfterFunc(20*time.Millisecond, func() { _ = port.Close() })
	select {
	case err := <-read:
		require.ErrorContains(t, err, "closed")
	case <-time.After(time.Minute):
		require.Fail(t, "closing the port does not end the wait")
	}
}
