// Package control lets a command ask the process that serves a pool for something, by a
// socket in the pool's directory, which only that directory's owner can open. Here are the
// words, and both ends of the socket; who does what is asked for is for whoever serves it to
// say.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"syscall"
	"time"
)

// SocketFile is the socket, below the pool's directory.
const SocketFile = "control.sock"

// What may be asked for.
const (
	// End ends a worker.
	End = "end"
	// Hold keeps a worker for a post-mortem.
	Hold = "hold"
	// Debug makes a fork of a worker that is held, which lasts as long as its asker.
	Debug = "debug"
)

// Request is what a command asks for: one JSON object, the first that is sent.
type Request struct {
	Do     string        `json:"do"`
	Worker string        `json:"worker"`
	For    time.Duration `json:"for,omitempty"`
}

// Answer is the one JSON object that comes back, when what was asked for is done.
type Answer struct {
	// Worker is the one that was made, if any.
	Worker string `json:"worker,omitempty"`
	// Error says why nothing was done.
	Error string `json:"error,omitempty"`
}

const (
	// mostBytes bounds either message.
	mostBytes = 64 << 10
	// sayLimit is how long an asker may take to say what it wants.
	sayLimit = 10 * time.Second
)

// ErrNobody says that no process serves the pool.
var ErrNobody = errors.New("no plugin process serves the pool")

// Ask asks the process that serves the pool whose directory is dir, and waits for its
// answer. What was asked for may last until the closer is closed, which returns when it has
// ended. An answer that is an error is returned as one.
func Ask(ctx context.Context, dir string, request Request) (Answer, io.Closer, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", filepath.Join(dir, SocketFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return Answer{}, nil, ErrNobody
	}
	if err != nil {
		return Answer{}, nil, fmt.Errorf("asking the plugin: %w", err)
	}
	answer, err := ask(ctx, conn, request)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	if err != nil {
		return Answer{}, nil, errors.Join(err, conn.Close())
	}
	return answer, asked{conn.(*net.UnixConn)}, nil
}

// asked is what was asked for, and lasts.
type asked struct{ conn *net.UnixConn }

// Close tells the other end, and waits for its end. An error before that says that it has
// gone already.
func (a asked) Close() error {
	if a.conn.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, a.conn)
	}
	return a.conn.Close()
}

func ask(ctx context.Context, conn net.Conn, request Request) (answer Answer, err error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	err = json.NewEncoder(conn).Encode(request)
	if err == nil {
		err = json.NewDecoder(io.LimitReader(conn, mostBytes)).Decode(&answer)
	}
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return answer, context.Cause(ctx)
	}
	return answer, fmt.Errorf("asking the plugin, which ended meanwhile: %w", err)
}
