//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// Agent serves the host's requests.
type Agent struct {
	// Root is the root of the file system that identity and sealing write to:
	// "/" but in tests.
	Root string
	Log  *slog.Logger
	// Kernel is how the agent reaches the running kernel.
	Kernel Kernel
	// Ready is called after each rekey: it opens the SSH port.
	Ready func() error

	// rekeyed says that the guest has its identity.
	rekeyed bool
	// networked says that a rekey finds the network set up, fitted to this link,
	// and inMemory for which files it finds a link to memory.
	networked bool
	fitted    guest.Link
	inMemory  map[string]bool
}

// How long the agent waits before it looks again whether a host has connected
// to its port: a read returns at once while there is none. A fork waits for the
// first; a guest at work is only disturbed by it, until it is resumed.
const (
	hostAway     = 5 * time.Millisecond
	hostLongAway = 200 * time.Millisecond
)

// Serve answers requests from port until ctx ends or reading fails for good.
// Rubbish is answered with an error, and the next line is read.
func (a *Agent) Serve(ctx context.Context, port io.ReadWriter) error {
	in := guest.NewReader(port)
	for ctx.Err() == nil {
		var request guest.Request
		err := in.Read(&request)
		switch {
		case errors.Is(err, io.EOF):
			sleep(ctx, a.pause())
		case errors.Is(err, guest.ErrTooLong), errors.Is(err, guest.ErrMessage):
			a.Log.Warn("refusing a line from the host", "error", err)
			a.answer(port, request, err)
		case err != nil:
			return fmt.Errorf("reading from the host: %w", err)
		default:
			err := a.handle(ctx, request, port)
			a.answer(port, request, err)
			if request.Op == guest.OpPowerOff && err == nil {
				a.powerOff(ctx)
			}
		}
	}
	return context.Cause(ctx)
}

func (a *Agent) pause() time.Duration {
	if a.rekeyed {
		return hostLongAway
	}
	return hostAway
}

func (a *Agent) handle(ctx context.Context, request guest.Request, port io.Writer) error {
	if err := request.Validate(); err != nil {
		return err
	}
	output := &eventWriter{port: port, id: request.ID}
	switch request.Op {
	case guest.OpRekey:
		return a.rekey(*request.Rekey)
	case guest.OpWake:
		return a.refresh(*request.Wake)
	case guest.OpNetwork:
		return a.prepare()
	case guest.OpAwait:
		return a.await(*request.Await)
	case guest.OpRun:
		return run(ctx, request.Command, output)
	case guest.OpFetch:
		return fetch(request.Path, output)
	case guest.OpSeal:
		return a.seal()
	case guest.OpPowerOff:
		return nil // answered first: the end of the guest is the end of the agent
	}
	return fmt.Errorf("operation %q has no handler", request.Op)
}

func (a *Agent) answer(port io.Writer, request guest.Request, err error) {
	last := guest.Event{Version: guest.Version, ID: request.ID, Done: true}
	var exit *guest.ExitError
	switch {
	case errors.As(err, &exit):
		last.Exit = exit.Code
	case err != nil:
		last.Error = err.Error()
	}
	if err := guest.Write(port, last); err != nil {
		a.Log.Warn("answering the host", "op", request.Op, "error", err)
	}
}

// eventWriter sends what is written to it as output events of one request.
type eventWriter struct {
	port io.Writer
	id   uint64
}

func (w *eventWriter) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		chunk := p[written:min(len(p), written+guest.MaxChunk)]
		event := guest.Event{Version: guest.Version, ID: w.id, Output: chunk}
		if err := guest.Write(w.port, event); err != nil {
			return written, err
		}
		written += len(chunk)
	}
	return written, nil
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
