//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// Run finds the agent's port and serves it until ctx ends.
func Run(ctx context.Context, log *slog.Logger) error {
	port, err := openPort(ctx)
	if err != nil {
		return err
	}
	defer port.Close()
	stop := context.AfterFunc(ctx, func() { _ = port.Close() })
	defer stop()
	a := &agent{root: "/", log: log, kernel: linux{}, ready: func() error { return openSSH(ctx, log) }}
	if port == io.ReadWriteCloser(os.Stdin) {
		a.kernel = container{}
	}
	if _, err := os.Stat(identityMark); err == nil { // an earlier agent of this guest has rekeyed it
		if err := a.ready(); err != nil {
			return err
		}
	}
	return a.serve(ctx, port)
}

// agent serves the host's requests.
type agent struct {
	// root is the root of the file system that identity and sealing write to:
	// "/" but in tests.
	root string
	log  *slog.Logger
	// kernel is how the agent changes the running kernel.
	kernel kernel
	// ready is called after each rekey: it opens the SSH port.
	ready func() error

	// rekeyed says that the guest has its identity.
	rekeyed bool
	// networked says that the network is set up, fitted to the link in fitted.
	networked bool
	fitted    guest.Link
	// environment are the variables that the host has set for commands.
	environment []string
	// inMemory are the files that are links to memory by now; see memoryDir.
	inMemory map[string]bool
	// frozen is how the freeze ends that lasts, if one does.
	frozen *frozen
}

// How long the agent waits before it looks again whether a host has connected
// to its port, since a read returns at once while there is none. A fork is not
// ready sooner than the agent looks, so it looks often until the rekey. After
// that every look takes time from a job.
const (
	hostAway     = 5 * time.Millisecond
	hostLongAway = 200 * time.Millisecond
)

// serve answers requests from port until ctx ends or reading fails for good. A
// line that is not a request is answered with an error, and the next is read.
func (a *agent) serve(ctx context.Context, port io.ReadWriter) error {
	in := guest.NewReader(port)
	for ctx.Err() == nil {
		var request guest.Request
		err := in.Read(&request)
		switch {
		case errors.Is(err, io.EOF):
			pause := hostAway
			if a.rekeyed {
				pause = hostLongAway
			}
			sleep(ctx, pause)
		case errors.Is(err, guest.ErrTooLong), errors.Is(err, guest.ErrMessage):
			a.log.Warn("refusing a line from the host", "error", err)
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

func (a *agent) handle(ctx context.Context, request guest.Request, port io.Writer) error {
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
	case guest.OpInspect:
		return a.inspect()
	case guest.OpOffline:
		return a.offline()
	case guest.OpRun:
		return run(ctx, request.Command, a.environment, output)
	case guest.OpSetenv:
		a.environment = append(a.environment, request.Variable.Name+"="+request.Variable.Value)
		return nil
	case guest.OpPut:
		return a.put(*request.Put)
	case guest.OpFetch:
		return fetch(request.Path, output)
	case guest.OpFreeze:
		return a.freeze()
	case guest.OpThaw:
		return a.thaw()
	case guest.OpJob:
		return a.tellJob(output)
	case guest.OpSeal:
		return a.seal()
	case guest.OpPowerOff:
		return nil // answered first: the end of the guest is the end of the agent
	}
	return fmt.Errorf("operation %q has no handler", request.Op)
}

func (a *agent) answer(port io.Writer, request guest.Request, err error) {
	last := guest.Event{Version: guest.Version, ID: request.ID, Done: true}
	var exit *guest.ExitError
	switch {
	case errors.As(err, &exit):
		last.Exit = exit.Code
	case err != nil:
		last.Error = err.Error()
	}
	if err := guest.Write(port, last); err != nil {
		a.log.Warn("answering the host", "op", request.Op, "error", err)
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
