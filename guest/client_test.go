package guest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// agent plays the guest's end of a connection: it answers each request with
// what reply makes of it.
func agent(t *testing.T, reply func(conn net.Conn, request Request)) *Client {
	t.Helper()
	host, inside := net.Pipe()
	t.Cleanup(func() { _, _ = host.Close(), inside.Close() })
	go func() {
		in := NewReader(inside)
		for {
			var request Request
			if in.Read(&request) != nil {
				return
			}
			reply(inside, request)
		}
	}()
	return NewClient(host)
}

func done(request Request) Event { return Event{Version: Version, ID: request.ID, Done: true} }

func TestRunCopiesOutputAndTellsTheExitCode(t *testing.T) {
	client := agent(t, func(conn net.Conn, request Request) {
		_ = Write(conn, Event{Version: Version, ID: request.ID, Output: []byte("hello ")})
		_ = Write(conn, Event{Version: Version, ID: request.ID, Output: []byte(request.Command)})
		last := done(request)
		last.Exit = 3
		_ = Write(conn, last)
	})
	var output bytes.Buffer
	err := client.Run(t.Context(), "world", &output)
	var exit *ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.Code)
	require.Equal(t, "hello world", output.String())
}

func TestRekeyCarriesFreshEntropyAndTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen [][]byte
		client := agent(t, func(conn net.Conn, request Request) {
			last := done(request)
			if err := request.Validate(); err != nil {
				last.Error = err.Error()
			}
			seen = append(seen, request.Rekey.Entropy)
			_ = Write(conn, last)
		})
		require.NoError(t, client.Rekey(t.Context(), identity()))
		require.NoError(t, client.Rekey(t.Context(), identity()))
		require.NotEqual(t, seen[0], seen[1])
	})
}

func TestLateGuestIsToldTheTimeAgain(t *testing.T) {
	for slow, want := range map[int]int{0: 1, 1: 2, 3: 4, 99: wakeTries} {
		synctest.Test(t, func(t *testing.T) {
			wakes := 0
			client := agent(t, func(conn net.Conn, request Request) {
				if wakes++; wakes <= slow {
					time.Sleep(lateAnswer)
				}
				_ = Write(conn, done(request))
			})
			require.NoError(t, client.Wake(t.Context()))
			require.Equal(t, want, wakes)
		})
	}
}

func TestWhatAnEarlierConnectionLeftIsDropped(t *testing.T) {
	client := agent(t, func(conn net.Conn, request Request) {
		_ = Write(conn, Event{Version: Version, ID: request.ID + 1, Done: true, Error: "of somebody else"})
		_ = Write(conn, done(request))
	})
	require.NoError(t, client.Seal(t.Context()))
}

func TestAgentsThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		reply func(conn net.Conn, request Request)
		want  string
	}{
		"error": {func(conn net.Conn, request Request) {
			last := done(request)
			last.Error = "no such file"
			_ = Write(conn, last)
		}, "guest agent: seal: no such file"},
		"rubbish": {func(conn net.Conn, _ Request) {
			_, _ = conn.Write([]byte("login: \n"))
		}, "not a message"},
		"endless line": {func(conn net.Conn, _ Request) {
			for range 2 {
				_, _ = conn.Write(bytes.Repeat([]byte("x"), MaxLine))
			}
			_, _ = conn.Write([]byte("\n"))
		}, "line longer than"},
		"another version": {func(conn net.Conn, request Request) {
			last := done(request)
			last.Version = Version + 1
			_ = Write(conn, last)
		}, "version does not match"},
		"gone": {func(conn net.Conn, _ Request) { _ = conn.Close() }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			require.ErrorContains(t, agent(t, test.reply).Seal(ctx), test.want)
		})
	}
}

func TestSilentAgentEndsWithTheContext(t *testing.T) {
	client := agent(t, func(net.Conn, Request) {})
	reason := errors.New("the machine is gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(reason) })
	require.ErrorIs(t, client.Seal(ctx), reason)
}

// The deadline itself is no reason: whoever set it knows what took too long.
func TestLateAgentEndsWithTheCauseOfTheDeadline(t *testing.T) {
	reason := errors.New("the first boot took too long")
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			host, inside := net.Pipe()
			defer inside.Close()
			go func() { _, _ = io.Copy(io.Discard, inside) }()
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, reason)
			defer cancel()
			require.ErrorIs(t, NewClient(host).Network(ctx), reason)
		})
	}
}
