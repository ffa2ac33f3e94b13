//go:build linux

package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// open opens a door with a server of its own, and returns where.
func open(t *testing.T, ctx context.Context, server ...string) string {
	t.Helper()
	address, err := door{server, slog.New(slog.DiscardHandler)}.open(ctx, "127.0.0.1:0")
	require.NoError(t, err)
	return address.String()
}

// ask sends a line and returns all that comes back.
func ask(t *testing.T, address, line string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, line+"\n")
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	return string(answer)
}

func TestEachConnectionHasAServerOfItsOwn(t *testing.T) {
	address := open(t, t.Context(), "sh", "-c", `read line; echo "$line $$ $(cat /proc/$$/oom_score_adj)"`)
	first, second := ask(t, address, "hello"), ask(t, address, "hello")
	require.Regexp(t, `^hello \d+ 0\n$`, first)
	require.NotEqual(t, first, second)
}

func TestServerThatCannotStartEndsTheConnection(t *testing.T) {
	address := open(t, t.Context(), "/nonexistent")
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestDoorClosesWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := open(t, ctx, "cat")
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	cancel()
	require.Eventually(t, func() bool {
		late, err := net.Dial("tcp", address)
		if err == nil {
			late.Close()
		}
		return err != nil
	}, time.Minute, 10*time.Millisecond)

	// A job that runs meanwhile goes on.
	_, err = io.WriteString(conn, "still here\n")
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	answer := make([]byte, 11)
	_, err = io.ReadFull(conn, answer)
	require.NoError(t, err)
	require.Equal(t, "still here\n", string(answer))
}
