// Package qmp is a small client of the QEMU Machine Protocol: commands, their
// answers and events, over a socket that the caller opened. Which commands to
// send is the caller's business.
package qmp

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Event is something that happened in the machine, see the QMP reference.
type Event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// Error is QEMU's refusal of a command.
type Error struct {
	Class       string `json:"class"`
	Description string `json:"desc"`
}

func (e *Error) Error() string { return e.Class + ": " + e.Description }

// ErrClosed says that the connection has ended, most often with QEMU itself.
var ErrClosed = errors.New("QMP connection is closed")

// maxLine is how many bytes QEMU may send for one message. Those of the commands
// that are sent here have some thousand.
const maxLine = 1 << 20

// stream is what QEMU sends: one message a line.
type stream struct{ *bufio.Scanner }

func newStream(conn io.Reader) stream {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxLine)
	return stream{lines}
}

// next decodes the next message.
func (s stream) next(message any) error {
	if !s.Scan() {
		return cmp.Or(s.Err(), io.EOF)
	}
	return json.Unmarshal(s.Bytes(), message)
}

// Client is one connection. Its methods may be called concurrently.
type Client struct {
	conn    net.Conn
	onEvent func(Event)
	closed  chan struct{}

	mu      sync.Mutex
	next    int
	waiting map[int]chan answer
}

type answer struct {
	ID     int             `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *Error          `json:"error"`
	Event
}

// New takes the greeting, negotiates and reads from then on. onEvent is called
// for each event, one at a time; it must not block.
func New(ctx context.Context, conn net.Conn, onEvent func(Event)) (*Client, error) {
	c := &Client{
		conn: conn, onEvent: onEvent,
		closed: make(chan struct{}), waiting: map[int]chan answer{},
	}
	said := newStream(conn)
	if err := greet(ctx, conn, said); err != nil {
		return nil, err
	}
	go c.read(said)
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func greet(ctx context.Context, conn net.Conn, said stream) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var greeting struct {
		QMP *json.RawMessage `json:"QMP"`
	}
	if err := said.next(&greeting); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("waiting for QMP's greeting: %w", err)
	}
	if greeting.QMP == nil {
		return errors.New("waiting for QMP's greeting: got something else")
	}
	return nil
}

// read ends with the connection, or with the first message that is none: what
// comes after it would be anything.
func (c *Client) read(said stream) {
	defer close(c.closed)
	for {
		var message answer
		if err := said.next(&message); err != nil {
			return
		}
		if message.Name != "" {
			c.onEvent(message.Event)
			continue
		}
		c.mu.Lock()
		waiting := c.waiting[message.ID]
		delete(c.waiting, message.ID)
		c.mu.Unlock()
		if waiting != nil {
			waiting <- message
		}
	}
}

// Execute sends a command and waits for its answer, which is decoded into
// result unless that is nil.
func (c *Client) Execute(ctx context.Context, command string, arguments, result any) error {
	if err := c.execute(ctx, command, arguments, nil, result); err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	return nil
}

// Pass gives QEMU an open file, which commands then name as fd:NAME. The caller
// may close its own after that. The connection must be a unix socket.
func (c *Client) Pass(ctx context.Context, name string, file *os.File) error {
	if err := c.execute(ctx, "getfd", map[string]any{"fdname": name}, file, nil); err != nil {
		return fmt.Errorf("QMP getfd %s: %w", name, err)
	}
	return nil
}

func (c *Client) execute(ctx context.Context, command string, arguments any, file *os.File, result any) error {
	waiting := make(chan answer, 1)
	id, err := c.send(command, arguments, file, waiting)
	defer c.forget(id)
	if err != nil {
		return err
	}
	select {
	case got := <-waiting:
		return got.decode(result)
	case <-c.closed:
		err = ErrClosed
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	select { // one that came before all that is an answer
	case got := <-waiting:
		return got.decode(result)
	default:
		return err
	}
}

func (a answer) decode(result any) error {
	switch {
	case a.Error != nil:
		return a.Error
	case result != nil:
		return json.Unmarshal(a.Return, result)
	}
	return nil
}

func (c *Client) send(command string, arguments any, file *os.File, waiting chan answer) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	c.waiting[c.next] = waiting
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        int    `json:"id"`
	}{command, arguments, c.next})
	if err != nil {
		return c.next, err
	}
	if err := c.write(append(line, '\n'), file); err != nil {
		return c.next, fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return c.next, nil
}

// write sends a file, if there is one, beside the line that speaks of it.
func (c *Client) write(line []byte, file *os.File) error {
	if file == nil {
		_, err := c.conn.Write(line)
		return err
	}
	conn, ok := c.conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("a %T passes no files", c.conn)
	}
	_, _, err := conn.WriteMsgUnix(line, unix.UnixRights(int(file.Fd())), nil)
	return err
}

func (c *Client) forget(id int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// Closed is closed when the connection has ended.
func (c *Client) Closed() <-chan struct{} { return c.closed }

// Close ends the connection, not the machine.
func (c *Client) Close() error { return c.conn.Close() }
