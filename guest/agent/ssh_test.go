//go:build linux

package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// open opens an SSH port with a server of its own, and returns its address.
func open(t *testing.T, ctx context.Context, server ...string) string {
	t.Helper()
	address, err := sshPort{server, slog.New(slog.DiscardHandler)}.open(ctx, "127.0.0.1:0")
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

// unprotected is a script that waits until it has lost the agent's protection,
// which it does a moment after it was started.
const unprotected = `n=0; until p=$(cat /proc/$$/oom_score_adj); [ $p = 0 ] || [ $n = 300 ]; do sleep 0.1; n=$((n+1)); done`

func TestEachConnectionHasAServerOfItsOwn(t *testing.T) {
	before := read(t, "/proc/self/oom_score_adj")
	require.NoError(t, os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0))
	defer func() { require.NoError(t, os.WriteFile("/proc/self/oom_score_adj", []byte(before), 0)) }()
	address := open(t, t.Context(), "sh", "-c", `read line; `+unprotected+`; echo "$line $$ $p"`)
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

func TestPortClosesWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := open(t, ctx, "cat")
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	requireEcho(t, conn, "served\n") // one that is not yet is hung up on
	cancel()
	require.Eventually(t, func() bool {
		late, err := net.Dial("tcp", address)
		if err == nil {
			late.Close()
		}
		return err != nil
	}, time.Minute, 10*time.Millisecond)

	// A job that runs meanwhile goes on.
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	requireEcho(t, conn, "still here\n")
}

func requireEcho(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	_, err := io.WriteString(conn, line)
	require.NoError(t, err)
	answer := make([]byte, len(line))
	_, err = io.ReadFull(conn, answer)
	require.NoError(t, err)
	require.Equal(t, line, string(answer))
}
