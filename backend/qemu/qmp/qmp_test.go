package qmp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// realQEMU starts a QEMU without a machine, and returns a connection to it.
func realQEMU(t *testing.T) net.Conn {
	t.Helper()
	need.Programs(t, "qemu-system-x86_64")
	path := filepath.Join(t.TempDir(), "qmp.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	defer listener.Close()
	file, err := listener.File()
	require.NoError(t, err)
	defer file.Close()
	cmd := exec.Command("qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none",
		"-chardev", "socket,id=qmp,fd=3,server=on,wait=off", "-mon", "chardev=qmp,mode=control")
	cmd.ExtraFiles = []*os.File{file}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	return conn
}

func TestRealQEMU(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events := make(chan Event, 10)
	client, err := New(ctx, realQEMU(t), func(event Event) { events <- event })
	require.NoError(t, err)
	defer client.Close()

	var status struct{ Status string }
	require.NoError(t, client.Execute(ctx, "query-status", nil, &status))
	require.NotEmpty(t, status.Status)

	var refused *Error
	require.ErrorAs(t, client.Execute(ctx, "no-such-command", nil, nil), &refused)
	require.Equal(t, "CommandNotFound", refused.Class)

	require.NoError(t, client.Execute(ctx, "quit", nil, nil))
	require.Equal(t, "SHUTDOWN", (<-events).Name)
	<-client.Closed()
	require.ErrorIs(t, client.Execute(ctx, "query-status", nil, nil), ErrClosed)
}

// greeting is how QEMU begins, on a line as all that it says.
const greeting = `{"QMP":{}}` + "\n"

// server plays QEMU's side with the greeting and what handle writes.
func server(t *testing.T, greeting string, handle func(conn net.Conn, command string, id int)) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	go func() {
		_, _ = io.WriteString(theirs, greeting)
		lines := bufio.NewScanner(theirs)
		for lines.Scan() {
			var request struct {
				Execute string
				ID      int
			}
			_ = json.Unmarshal(lines.Bytes(), &request)
			if request.Execute == "qmp_capabilities" {
				_ = json.NewEncoder(theirs).Encode(map[string]any{"return": map[string]any{}, "id": request.ID})
				continue
			}
			handle(theirs, request.Execute, request.ID)
		}
	}()
	return ours
}

func TestAnswersThatAreNotAwaitedAreDropped(t *testing.T) {
	conn := server(t, greeting, func(conn net.Conn, _ string, id int) {
		_, _ = io.WriteString(conn, `{"return":{},"id":99}`+"\n"+`{"event":"RESUME"}`+"\n")
		_ = json.NewEncoder(conn).Encode(map[string]any{"return": "mine", "id": id})
	})
	client, err := New(t.Context(), conn, func(Event) {})
	require.NoError(t, err)
	var got string
	require.NoError(t, client.Execute(t.Context(), "query", nil, &got))
	require.Equal(t, "mine", got)
	require.NoError(t, client.Close())
	<-client.Closed()
}

// TestTheLastAnswerCounts is about quit, whose answer the end of the connection
// follows. That is often there before the asker looks: it must not draw lots.
func TestTheLastAnswerCounts(t *testing.T) {
	for range 500 {
		client, err := New(t.Context(), server(t, greeting, func(conn net.Conn, _ string, id int) {
			_ = json.NewEncoder(conn).Encode(map[string]any{"return": map[string]any{}, "id": id})
			_ = conn.Close()
		}), func(Event) {})
		require.NoError(t, err)
		require.NoError(t, client.Execute(t.Context(), "quit", nil, nil))
		<-client.Closed()
	}
}

func TestSomethingElseThanQMPIsRefused(t *testing.T) {
	_, err := New(t.Context(), server(t, `{"hello":1}`+"\n", nil), nil)
	require.ErrorContains(t, err, "got something else")
}

func TestSilenceEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := New(ctx, server(t, "", nil), nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	conn := server(t, greeting, func(net.Conn, string, int) {})
	client, err := New(t.Context(), conn, func(Event) {})
	require.NoError(t, err)
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, client.Execute(ctx, "query", nil, nil), context.DeadlineExceeded)
	require.NoError(t, client.Close())
	<-client.Closed()
}

// A QEMU that a guest has taken over may say anything: the connection ends, and
// with it what waits for an answer.
func TestWhatIsNoMessageEndsTheConnection(t *testing.T) {
	for name, said := range map[string]string{
		"too long":     `{"event":"` + strings.Repeat("x", maxLine) + `"}` + "\n",
		"without end":  strings.Repeat(" ", 2*maxLine),
		"too deep":     strings.Repeat(`{"return":`, 20000) + "\n",
		"not JSON":     "QEMU 7.2.0 monitor\n",
		"another type": `{"id":"one","return":{}}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			client, err := New(t.Context(), server(t, greeting, func(conn net.Conn, _ string, _ int) {
				_, _ = io.WriteString(conn, said)
			}), func(Event) {})
			require.NoError(t, err)
			defer client.Close()
			require.ErrorIs(t, client.Execute(t.Context(), "query", nil, nil), ErrClosed)
		})
	}
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte(greeting))
	f.Add([]byte(`{"return":{},"id":1}` + "\r\n" +
		`{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-reset"}}` + "\r\n"))
	f.Add([]byte(`{"error":{"class":"GenericError","desc":"no"},"id":2}` + "\n\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		c := &Client{onEvent: func(event Event) {
			if event.Name == "" {
				t.Error("an event without a name")
			}
		}, closed: make(chan struct{}), waiting: map[int]chan answer{1: make(chan answer, 1)}}
		c.read(newStream(bytes.NewReader(said)))
		<-c.closed
	})
}
