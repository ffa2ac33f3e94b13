package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/control"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// goneCheck is how often is looked whether a worker that ends is gone.
const goneCheck = 100 * time.Millisecond

// serveCommands has commands ask this pool for things, where they can reach it.
func (p *Pool) serveCommands(dir string, log *slog.Logger) (end func()) {
	server, err := control.Serve(dir, p.do)
	if err != nil { // such as a state directory with a long path
		log.Warn("commands cannot reach this process: rm, hold and debug will fail", "err", err)
		return func() {}
	}
	return server.Close
}

// do does what a command asks for.
func (p *Pool) do(ctx context.Context, r control.Request, answer func(control.Answer)) error {
	switch r.Do {
	case control.End:
		return p.End(r.Worker)
	case control.Hold:
		return p.Hold(r.Worker, r.For)
	case control.Debug:
		return p.Debug(ctx, r.Worker, func(id string) { answer(control.Answer{Worker: id}) })
	}
	return fmt.Errorf("%q is nothing that this version of the plugin does", r.Do)
}

// EndWorker ends a worker of the configuration's pool, and returns when nothing of it is
// left: it asks the process that serves the pool, or, when none does, removes the worker as
// an orphan.
func (h *Host) EndWorker(ctx context.Context, c config.Config, id string, log *slog.Logger) error {
	records, err := store.Look(c.PoolDir())
	if err != nil {
		return err
	}
	_, done, err := control.Ask(ctx, c.PoolDir(), control.Request{Do: control.End, Worker: id})
	if errors.Is(err, control.ErrNobody) {
		return h.removeOrphan(ctx, c, id, log)
	}
	if err != nil {
		return err
	}
	defer done.Close()
	for {
		if _, err := os.Lstat(records.Dir(id)); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the end of worker %s: %w", id, context.Cause(ctx))
		case <-time.After(goneCheck):
		}
	}
}

// removeOrphan removes one worker of a pool that no process serves.
func (h *Host) removeOrphan(ctx context.Context, c config.Config, id string, log *slog.Logger) (err error) {
	records, unlock, err := take(ctx, c, store.Open, sweepWait)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	all, err := h.everyone(c, log)
	if err != nil {
		return err
	}
	return orphans{directories: []string{id}}.remove(ctx, c, records, all)
}

// HoldWorker has a worker of the configuration's pool be held for so long; 0 is as long as
// the pool's configuration says.
func (h *Host) HoldWorker(ctx context.Context, c config.Config, id string, limit time.Duration) error {
	_, done, err := control.Ask(ctx, c.PoolDir(), control.Request{Do: control.Hold, Worker: id, For: limit})
	if err != nil {
		return unserved(err)
	}
	return done.Close()
}

// DebugWorker makes a fork of a worker that is held, and returns its id. It ends with the
// closer.
func (h *Host) DebugWorker(ctx context.Context, c config.Config, id string) (fork string, end io.Closer, err error) {
	answer, end, err := control.Ask(ctx, c.PoolDir(), control.Request{Do: control.Debug, Worker: id})
	return answer.Worker, end, unserved(err)
}

// unserved says what can be done where no process holds workers.
func unserved(err error) error {
	if errors.Is(err, control.ErrNobody) {
		return fmt.Errorf("%w: start the runner; without it, `rm` and `gc` remove what is left", err)
	}
	return err
}
