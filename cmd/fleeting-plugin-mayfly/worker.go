package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// onWorker is the flags and the argument of commands about one worker.
type onWorker struct {
	configuration
	ID string `arg:"" name:"ID" help:"The worker."`
}

// errNoWorker says that an id is nobody's.
var errNoWorker = errors.New("no such worker; `ps` lists those that there are, and `ps --ended` the last that ended")

// find returns the settings of the worker's pool, and what that pool keeps.
func (c onWorker) find(h *host.Host) (settings config.Config, records *store.Store, err error) {
	if settings, _, err = c.load(); err != nil {
		return settings, nil, err
	}
	if !workerid.Valid(c.ID) {
		return settings, nil, usageError{fmt.Errorf("%q is not the id of a worker", c.ID)}
	}
	err = eachStore(h, settings, func(pool string, of *store.Store) error {
		if _, ok := workerid.Key(pool, c.ID); ok {
			settings.Pool, records = pool, of
		}
		return nil
	})
	if err == nil && records == nil {
		err = fmt.Errorf("worker %s: %w", c.ID, errNoWorker)
	}
	return settings, records, err
}

// present is find for a worker that has a record.
func (c onWorker) present(h *host.Host) (settings config.Config, records *store.Store, record store.Record, err error) {
	if settings, records, err = c.find(h); err != nil {
		return settings, records, record, err
	}
	record, err = records.Load(c.ID)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("worker %s: %w", c.ID, errNoWorker)
	}
	return settings, records, record, err
}

type consoleCommand struct {
	onWorker
	Follow bool `short:"f" help:"Go on until the worker is gone."`
}

// Run prints what a machine has written to its console, made fit for a terminal, also
// that of one that has ended, as far as it is kept.
func (c consoleCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, records, err := c.find(h)
	if err != nil {
		return err
	}
	dir := records.Dir(c.ID)
	path, err := h.ConsolePath(settings, dir, s.log)
	if err == nil && path == "" {
		path, err = endedConsole(records, c.ID)
	}
	if err != nil {
		return err
	}
	open := func() (*os.File, error) { return openConsole(path) }
	over := func() bool { return !c.Follow || filepath.Dir(path) != dir || !exists(dir) }
	// The zeros are the hole of a file that was cut while its machine wrote on.
	to := lines.New(func(line string) { fmt.Fprintln(s.out, lines.Printable(strings.Trim(line, "\x00"))) })
	defer to.Flush()
	return lines.Follow(ctx, open, over, to)
}

// endedConsole is the file with the console of a worker that has ended.
func endedConsole(records *store.Store, id string) (path string, err error) {
	ended, err := records.Ended()
	if err != nil {
		return "", err
	}
	for _, e := range ended {
		if e.ID == id && e.Console != "" {
			return e.Console, nil
		}
	}
	if exists(records.Dir(id)) {
		return "", fmt.Errorf("worker %s has no console, or none yet", id)
	}
	return "", fmt.Errorf("worker %s: %w", id, errNoWorker)
}

// openConsole follows no link and waits for no pipe: the file belongs to the user that the
// machine runs as.
func openConsole(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
