//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// undoLimit bounds each step of what is done when all is over.
const undoLimit = 2 * time.Minute

// tries is how often a round is tried.
const tries = 3

// method is one way of making workers.
type method interface {
	name() string
	// start makes n workers at once, and returns when all are ready.
	start(ctx context.Context, n int) ([]worker, error)
	// remove removes all workers that there are, half made ones included.
	remove(ctx context.Context) error
}

// worker is one that is ready.
type worker struct {
	id, dir string
	// ready is how many seconds after the start of all its SSH handshake was
	// done.
	ready float64
	// start is what a fork's record says of its start.
	start report.Start
}

// bench measures, and undoes in the end what it has set up.
type bench struct {
	options
	methods []method
	// all that was measured, by method and how many at once.
	workers []report.Workers
	starts  []report.Start
	// repeated counts the rounds that failed.
	repeated int
	undo     []func(context.Context) error
	began    time.Time
}

// measure is the whole run.
func measure(ctx context.Context, o options) (document report.Document, err error) {
	b := &bench{options: o, began: time.Now()}
	defer func() { err = errors.Join(err, b.cleanUp(ctx)) }()
	stage, err := b.setUp(ctx)
	if err != nil {
		return document, err
	}
	if err := b.measureWorkers(ctx); err != nil {
		return document, err
	}
	if document, err = b.describe(ctx, stage); err != nil {
		return document, err
	}
	if document.Lease, err = b.measureLease(ctx, stage.old.network, 0); err != nil {
		return document, err
	}
	if document.CrowdedLease, err = b.measureLease(ctx, stage.old.network, crowd); err != nil {
		return document, err
	}
	if document.Disks, err = b.measureDisks(ctx, stage); err != nil {
		return document, err
	}
	document.Pool, err = b.measurePool(ctx)
	document.Workers, document.Ratios, document.Profile = b.workers, report.Compare(b.workers), report.Profile(b.starts)
	document.Repeated = b.repeated
	document.Seconds = time.Since(b.began).Round(time.Second).Seconds()
	return document, err
}

// later has something undone in the end, before all that was set up earlier.
func (b *bench) later(undo func(context.Context) error) { b.undo = append(b.undo, undo) }

// cleanUp undoes everything, also when ctx has ended.
func (b *bench) cleanUp(ctx context.Context) error {
	b.say("cleaning up")
	var failed []error
	for _, undo := range slices.Backward(b.undo) {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
		failed = append(failed, undo(limited))
		cancel()
	}
	return errors.Join(failed...)
}

// say tells how it goes on.
func (b *bench) say(format string, arguments ...any) {
	after := time.Since(b.began).Round(time.Second)
	fmt.Fprintf(os.Stderr, "bench %6s  %s\n", after, fmt.Sprintf(format, arguments...))
}

// measureWorkers takes the methods in turn within each round, so that other load
// on the machine affects all of them.
func (b *bench) measureWorkers(ctx context.Context) error {
	for _, count := range b.counts {
		of := make([]figures, len(b.methods))
		for round := range b.roundsOf(count) {
			for i, m := range b.methods {
				b.say("%d at once, round %d of %d: %s", count, round+1, b.roundsOf(count), m.name())
				if err := b.insist(ctx, m, count, &of[i]); err != nil {
					return fmt.Errorf("%s, %d at once: %w", m.name(), count, err)
				}
			}
		}
		for i, m := range b.methods {
			b.workers = append(b.workers, of[i].workers(m.name(), count))
		}
	}
	return nil
}

// insist repeats a round that failed, so that a long run is not lost with it;
// how many there were is in the document. None of a failed round is counted.
func (b *bench) insist(ctx context.Context, m method, count int, into *figures) error {
	for try := 1; ; try++ {
		var once figures
		err := b.measureRound(ctx, m, count, &once)
		if err == nil {
			into.add(once)
			return nil
		}
		if ctx.Err() != nil || try == tries {
			return err
		}
		b.repeated++
		b.say("  the round is repeated: %v", err)
	}
}

// measureRound starts workers once, lets them settle, looks at them, and
// removes them.
func (b *bench) measureRound(ctx context.Context, m method, count int, into *figures) (err error) {
	defer func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
		defer cancel()
		err = errors.Join(err, m.remove(limited))
	}()
	workers, err := m.start(ctx, count)
	if err != nil {
		return err
	}
	last := into.addReady(workers)
	b.say("  all ready after %.1f s; waiting until they are idle", last)
	if err := b.settle(ctx, workers); err != nil {
		return err
	}
	if err := into.addSizes(workers); err != nil {
		return err
	}
	if count == 1 && m.name() == report.Fork {
		b.starts = append(b.starts, workers[0].start)
	}
	return nil
}

// figures collects samples of the workers of one method.
type figures struct{ ready, allReady, disk, pss, private []float64 }

func (f *figures) add(other figures) {
	f.ready = append(f.ready, other.ready...)
	f.allReady = append(f.allReady, other.allReady...)
	f.disk = append(f.disk, other.disk...)
	f.pss = append(f.pss, other.pss...)
	f.private = append(f.private, other.private...)
}

// addReady returns when the last of them was ready.
func (f *figures) addReady(workers []worker) (last float64) {
	for _, w := range workers {
		f.ready = append(f.ready, w.ready)
		last = max(last, w.ready)
	}
	f.allReady = append(f.allReady, last)
	return last
}

// addSizes looks at the memory of all before it looks at anything else.
func (f *figures) addSizes(workers []worker) error {
	for _, w := range workers {
		used, err := memory(w.dir)
		if err != nil {
			return fmt.Errorf("memory of %s: %w", w.id, err)
		}
		f.pss = append(f.pss, float64(used.PSS))
		f.private = append(f.private, float64(used.Private))
	}
	for _, w := range workers {
		blocks, err := ownBlocks(w.dir)
		if err != nil {
			return fmt.Errorf("disk of %s: %w", w.id, err)
		}
		f.disk = append(f.disk, float64(blocks))
	}
	return nil
}

func (f *figures) workers(method string, count int) report.Workers {
	return report.Workers{
		Method: method, AtOnce: count,
		Ready: report.NewSeries(f.ready), AllReady: report.NewSeries(f.allReady),
		Disk: report.NewSeries(f.disk), PSS: report.NewSeries(f.pss), Private: report.NewSeries(f.private),
	}
}

// seconds is a duration as it is reported.
func seconds(d time.Duration) float64 { return d.Round(time.Microsecond).Seconds() }
