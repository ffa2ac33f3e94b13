package control

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shortDir is short enough for a socket's path.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mayfly-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestAskersAreAnswered(t *testing.T) {
	dir := shortDir(t)
	_, _, err := Ask(limit(t), dir, Request{Do: End})
	require.ErrorIs(t, err, ErrNobody)

	ended := make(chan struct{}, 1)
	serve := func() *Server {
		s, err := Serve(dir, func(ctx context.Context, r Request, answer func(Answer)) error {
			switch r.Do {
			case Hold:
				if r != (Request{Hold, "p-aaaaaaaa", 2 * time.Hour}) {
					return errors.New("garbled")
				}
				return nil
			case Debug:
				answer(Answer{Worker: "p-bbbbbbbb"})
				<-ctx.Done()
				ended <- struct{}{}
				return ctx.Err()
			}
			return errors.New("no such worker")
		})
		require.NoError(t, err)
		return s
	}
	serve().Close()
	require.NoFileExists(t, filepath.Join(dir, SocketFile))

	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, SocketFile), Net: "unix"})
	require.NoError(t, err)
	listener.SetUnlinkOnClose(false)
	require.NoError(t, listener.Close())
	_, _, err = Ask(limit(t), dir, Request{Do: End})
	require.ErrorIs(t, err, ErrNobody, "the socket of a process that was killed")

	s := serve()
	info, err := os.Stat(filepath.Join(dir, SocketFile))
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)
	_, done, err := Ask(limit(t), dir, Request{Do: Hold, Worker: "p-aaaaaaaa", For: 2 * time.Hour})
	require.NoError(t, err)
	require.NoError(t, done.Close())
	_, _, err = Ask(limit(t), dir, Request{Do: End, Worker: "p-aaaaaaaa"})
	require.EqualError(t, err, "no such worker")

	conn, err := net.Dial("unix", filepath.Join(dir, SocketFile))
	require.NoError(t, err)
	_, err = io.WriteString(conn, `{"do": "hold", "forever": true}`)
	require.NoError(t, err)
	said, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Contains(t, string(said), "does not understand")
	require.NoError(t, conn.Close())

	answer, done, err := Ask(limit(t), dir, Request{Do: Debug})
	require.NoError(t, err)
	require.Equal(t, "p-bbbbbbbb", answer.Worker)
	select {
	case <-ended:
		t.Fatal("it ended before its asker did")
	default:
	}
	require.NoError(t, done.Close())
	select {
	case <-ended:
	default:
		t.Fatal("it has not ended yet")
	}

	_, done, err = Ask(limit(t), dir, Request{Do: Debug})
	require.NoError(t, err)
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	<-ended // with the process that serves it
	<-closed
	require.NoError(t, done.Close())
}

func TestAnAskerDoesNotWaitForEver(t *testing.T) {
	dir := shortDir(t)
	s, err := Serve(dir, func(ctx context.Context, _ Request, _ func(Answer)) error {
		<-ctx.Done()
		return ctx.Err()
	})
	require.NoError(t, err)
	defer s.Close()
	late := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, late)
	defer cancel()
	_, _, err = Ask(ctx, dir, Request{Do: Debug})
	require.ErrorIs(t, err, late)
}
