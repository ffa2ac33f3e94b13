package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// watchPause is how long a list stays that is printed again and again.
const watchPause = 2 * time.Second

// repeat prints something again and again until ctx ends: on a terminal in the place of
// what was there, else one below the other.
func repeat(ctx context.Context, to io.Writer, print func() error) error {
	const clear = "\x1b[H\x1b[2J"
	file, is := to.(*os.File)
	terminal := is && term.IsTerminal(int(file.Fd()))
	for {
		if terminal {
			fmt.Fprint(to, clear)
		}
		if err := print(); err != nil {
			return err
		}
		select {
		case <-time.After(watchPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if !terminal {
			fmt.Fprintln(to)
		}
	}
}

// before is how much earlier than the oldest worker the ledgers are read from: what it
// waits for, such as the image, may have been told of before it came.
const before = time.Hour

// addHistories adds what the ledgers of their pools tell of workers. A ledger that cannot
// be read hides no worker.
func addHistories(s *streams, h *host.Host, c config.Config, workers []listedWorker) error {
	all, err := ledgers(h, c)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, of := range all {
		c.Pool = of.pool
		records, err := store.Look(c.PoolDir())
		if err != nil {
			return err
		}
		var told *ledger.Histories
		for i := range workers {
			w := &workers[i]
			if w.Pool != of.pool {
				continue
			}
			if told == nil {
				if told, err = of.histories(now.Add(-oldest(workers, of.pool) - before)); err != nil {
					s.log.Warn("what happened to workers is not known", "pool", of.pool, "error", err)
					break
				}
			}
			w.add(told, now)
			if w.State == string(pool.Creating) {
				w.Console = consoleTail(s, h, c, records, w.ID)
			}
		}
	}
	return nil
}

// oldest is the age of the oldest worker of a pool.
func oldest(workers []listedWorker, pool string) (age time.Duration) {
	for _, w := range workers {
		if w.Pool == pool {
			age = max(age, time.Duration(w.AgeSeconds*float64(time.Second)))
		}
	}
	return age
}

// add adds which job was seen in the worker, and while it is on its way up or down the
// phase and why that takes its time.
func (w *listedWorker) add(told *ledger.Histories, now time.Time) {
	history, known := told.Worker(w.ID)
	if !known {
		return
	}
	if n := len(history.Jobs); n > 0 {
		w.Job = &history.Jobs[n-1].Job
	}
	if phase, lasts := history.Phase(); lasts && w.moves() {
		w.Phase, w.PhaseSeconds = phase.Name, phase.Took(now).Seconds()
		w.Reason = cmp.Or(w.Reason, told.Why(history))
	}
}

// moves says whether the worker is on its way to another state.
func (w listedWorker) moves() bool {
	switch pool.State(w.State) {
	case pool.Creating, pool.Suspending, pool.Resuming, pool.Deleting:
		return true
	}
	return false
}

// onItsWay says what a worker is in, for how long and why, and what its console says.
func (w listedWorker) onItsWay() string {
	said := fmt.Sprintf("%s for %.0fs", w.Phase, w.PhaseSeconds)
	if w.Reason != "" {
		said += ": " + firstLine(w.Reason)
	}
	if n := len(w.Console); n > 0 {
		said += "; console: " + strings.TrimSpace(w.Console[n-1])
	}
	return said
}
