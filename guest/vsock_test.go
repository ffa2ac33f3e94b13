package guest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hybrid plays a monitor's socket: each connection is answered as serve says.
func hybrid(t *testing.T, serve func(n int, conn net.Conn)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "vsock")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for n := 0; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			line := make([]byte, len("CONNECT 700\n"))
			if _, err := io.ReadFull(conn, line); err != nil || string(line) != "CONNECT 700\n" {
				_ = conn.Close()
				continue
			}
			serve(n, conn)
		}
	}()
	return path
}

func TestAgentIsReachedOnceItListens(t *testing.T) {
	path := hybrid(t, func(n int, conn net.Conn) {
		defer conn.Close()
		if n < 3 {
			return // nobody listens
		}
		_, _ = conn.Write([]byte("OK 1073741824\nfirst"))
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := DialVsock(ctx, path)
	require.NoError(t, err)
	defer conn.Close()
	text, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "first", string(text), "what comes after the answer is the agent's")
}

func TestAgentThatNeverListensEndsWithTheContext(t *testing.T) {
	reason := errors.New("the machine is gone")
	for name, path := range map[string]string{
		"refuses": hybrid(t, func(_ int, conn net.Conn) { _ = conn.Close() }),
		"silent":  hybrid(t, func(_ int, conn net.Conn) { t.Cleanup(func() { _ = conn.Close() }) }),
		"nowhere": filepath.Join(t.TempDir(), "none"),
	} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, reason)
		_, err := DialVsock(ctx, path)
		cancel()
		require.ErrorIs(t, err, reason, name)
	}
}

func TestAnswersThatAreRefused(t *testing.T) {
	require.NoError(t, readAnswer(strings.NewReader("OK 4294967295\n")))
	for _, answer := range []string{
		"", "OK", "OK \n", "OK x\n", "OK -1\n", "OK 4294967296\n", "ok 1\n", "ERR 1\n", "\n", "OK 1", "OK 1 \n", "OK 42949672955\n",
	} {
		require.Error(t, readAnswer(strings.NewReader(answer)), "%q", answer)
	}
}

// FuzzVsockAnswer: nothing beyond the line is read, and what is taken for an
// answer is one.
func FuzzVsockAnswer(f *testing.F) {
	for _, seed := range []string{"OK 1073741824\n{}", "OK 1\n", "OK \n", "OK 99999999999999\n", "\x00\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		in := bytes.NewReader(answer)
		if err := readAnswer(in); err != nil {
			return
		}
		line, rest, _ := bytes.Cut(answer, []byte("\n"))
		require.Regexp(t, `^OK [0-9]{1,10}$`, string(line))
		require.Equal(t, len(rest), in.Len())
	})
}
