package guest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
)

// Client is the host's end of the protocol. It is for one goroutine: the agent
// does one thing at a time.
type Client struct {
	conn net.Conn
	in   *Reader
}

// NewClient speaks over conn, which it does not close.
func NewClient(conn net.Conn) *Client {
	return &Client{conn: conn, in: NewReader(conn)}
}

// An answer that takes lateAnswer or longer may come from a guest that has set its
// clock by an old time: a busy host may run a guest late. The guest is then told
// the time again, until it answers sooner, at most wakeTries times.
const (
	lateAnswer = 500 * time.Millisecond
	wakeTries  = 5
)

// Rekey gives the guest its identity, with fresh entropy and the time.
func (c *Client) Rekey(ctx context.Context, identity Identity) error {
	began := time.Now()
	request := Request{Op: OpRekey, Rekey: &Rekey{Identity: identity, Fresh: NewFresh()}}
	if err := c.do(ctx, request, io.Discard); err != nil || time.Since(began) < lateAnswer {
		return err
	}
	return c.Wake(ctx)
}

// Wake gives a guest that was suspended fresh entropy and the time.
func (c *Client) Wake(ctx context.Context) error {
	for range wakeTries {
		fresh := NewFresh()
		err := c.do(ctx, Request{Op: OpWake, Wake: &fresh}, io.Discard)
		if err != nil || time.Since(fresh.Time) < lateAnswer {
			return err
		}
	}
	return nil
}

// NewFresh draws entropy and takes the time.
func NewFresh() Fresh {
	entropy := make([]byte, 2*MinEntropy)
	_, _ = rand.Read(entropy) // never fails, see crypto/rand
	return Fresh{Entropy: entropy, Time: time.Now()}
}

// Network sets up the guest's network without an identity, for a prebuild, or for
// the steps that make a template warm.
func (c *Client) Network(ctx context.Context) error {
	return c.do(ctx, Request{Op: OpNetwork}, io.Discard)
}

// Await has the guest of a template do all that needs no identity; see Await.
func (c *Client) Await(ctx context.Context, await Await) error {
	return c.do(ctx, Request{Op: OpAwait, Await: &await}, io.Discard)
}

// Offline takes away the network that Network has set up.
func (c *Client) Offline(ctx context.Context) error {
	return c.do(ctx, Request{Op: OpOffline}, io.Discard)
}

// Inspect fails when the guest holds what forks must not have in common, as far as
// the agent can recognise that, and names all of it.
func (c *Client) Inspect(ctx context.Context) error {
	return c.do(ctx, Request{Op: OpInspect}, io.Discard)
}

// ExitError says that a command ran and failed.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// Run runs a shell command as root, its output copied to output as it comes.
// A command that ran and failed is an *ExitError.
func (c *Client) Run(ctx context.Context, command string, output io.Writer) error {
	return c.do(ctx, Request{Op: OpRun, Command: command}, output)
}

// Fetch copies a file of the guest to output.
func (c *Client) Fetch(ctx context.Context, path string, output io.Writer) error {
	return c.do(ctx, Request{Op: OpFetch, Path: path}, output)
}

// thawLimit bounds the request that ends a freeze, also when the caller's context has
// ended by then.
const thawLimit = time.Minute

// WhileFrozen calls do while nothing but the agent writes to the guest's disk. The
// error says, too, when that did not last until do returned.
func (c *Client) WhileFrozen(ctx context.Context, do func() error) error {
	if err := c.do(ctx, Request{Op: OpFreeze}, io.Discard); err != nil {
		return err
	}
	err := do()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), thawLimit)
	defer cancel()
	return errors.Join(err, c.do(ctx, Request{Op: OpThaw}, io.Discard))
}

// Seal prepares the guest's disk for being a golden image.
func (c *Client) Seal(ctx context.Context) error {
	return c.do(ctx, Request{Op: OpSeal}, io.Discard)
}

// PowerOff asks the guest to end; it returns when the guest has agreed.
func (c *Client) PowerOff(ctx context.Context) error {
	return c.do(ctx, Request{Op: OpPowerOff}, io.Discard)
}

// do sends one request and takes its events until the last. Answers to other
// requests, left in the stream by an earlier connection, are dropped. A line that
// is not a message fails the request: the agent is broken, or not ours.
func (c *Client) do(ctx context.Context, request Request, output io.Writer) error {
	release := bind(ctx, c.conn)
	defer release()

	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	request.Version, request.ID = Version, binary.BigEndian.Uint64(id[:])
	if err := Write(c.conn, request); err != nil {
		return c.fail(ctx, request, err)
	}
	for {
		var event Event
		if err := c.in.Read(&event); err != nil {
			return c.fail(ctx, request, err)
		}
		if event.ID != request.ID {
			continue
		}
		done, err := take(event, output)
		if err != nil {
			return c.fail(ctx, request, err)
		}
		if done {
			return nil
		}
	}
}

func take(event Event, output io.Writer) (done bool, err error) {
	if event.Version != Version {
		return false, fmt.Errorf("%w: agent speaks %d, this host %d", ErrVersion, event.Version, Version)
	}
	if len(event.Output) > 0 {
		if _, err := output.Write(event.Output); err != nil {
			return false, err
		}
	}
	switch {
	case event.Error != "":
		return false, Fault(errors.New(lines.Text(event.Error)))
	case event.Done && event.Exit != 0:
		return false, &ExitError{Code: event.Exit}
	}
	return event.Done, nil
}

// fail names the operation. When ctx has ended, its cause takes the place of the
// connection's time-out, which bind has set.
func (c *Client) fail(ctx context.Context, request Request, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("guest agent: %s: %w", request.Op, err)
}

// bind makes blocked reads and writes of conn end when ctx does, and not sooner,
// so that the cause of ctx is known by then.
func bind(ctx context.Context, conn net.Conn) (release func()) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return func() {
		stop()
		_ = conn.SetDeadline(time.Time{})
	}
}
