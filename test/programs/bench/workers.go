//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// measureWorkers takes the methods in turn within each round, so that other load
// on the machine affects all of them.
func (b *bench) measureWorkers(ctx context.Context, s *stage, d *report.Document) error {
	methods, err := b.workerMethods(ctx, s)
	if err != nil {
		return err
	}
	d.Rounds = make(map[int]int)
	var starts []report.Start
	for _, count := range b.counts {
		d.Rounds[count] = b.roundsOf(count)
		of := make([]figures, len(methods))
		for round := range b.roundsOf(count) {
			for i, m := range methods {
				b.say("%d at once, round %d of %d: %s", count, round+1, b.roundsOf(count), m.name())
				err := b.insist(ctx, func() error { return b.measureRound(ctx, m, count, &of[i]) })
				if err != nil {
					return fmt.Errorf("%s, %d at once: %w", m.name(), count, err)
				}
			}
		}
		for i, m := range methods {
			d.Workers = append(d.Workers, of[i].workers(m.name(), count))
			if count == 1 && m.name() == report.Fork {
				starts = of[i].starts
			}
		}
	}
	d.Ratios, d.Profile = report.Compare(d.Workers), report.Profile(starts)
	return nil
}

// workerMethods are the ways of making workers, in the order of the table.
func (b *bench) workerMethods(ctx context.Context, s *stage) ([]method, error) {
	old, err := b.addOldWay(ctx, s)
	if err != nil {
		return nil, err
	}
	methods := []method{old, s.clones}
	for _, name := range []string{report.Fork, report.Stocked} {
		forks, err := b.addForks(ctx, name, s.config)
		if err != nil {
			return nil, err
		}
		methods = append(methods, forks)
	}
	return methods, nil
}

// measureRound starts workers once, lets them settle, looks at them, and
// removes them. None of a round that failed is counted.
func (b *bench) measureRound(ctx context.Context, m method, count int, into *figures) (err error) {
	var once figures
	defer func() {
		if err = errors.Join(err, limited(ctx, m.remove)); err == nil {
			into.add(once)
		}
	}()
	workers, err := m.start(ctx, count)
	if err != nil {
		return err
	}
	last := once.addReady(workers)
	b.say("  all ready after %.1f s; waiting until they are idle", last)
	if err := b.settle(ctx, workers, settleLimit); err != nil {
		return err
	}
	return once.addSizes(workers)
}

// figures collects samples of the workers of one method.
type figures struct {
	ready, allReady, disk, pss, private []float64
	starts                              []report.Start
}

func (f *figures) add(other figures) {
	f.ready = append(f.ready, other.ready...)
	f.allReady = append(f.allReady, other.allReady...)
	f.disk = append(f.disk, other.disk...)
	f.pss = append(f.pss, other.pss...)
	f.private = append(f.private, other.private...)
	f.starts = append(f.starts, other.starts...)
}

// addReady returns when the last of them was ready.
func (f *figures) addReady(workers []worker) (last float64) {
	for _, w := range workers {
		f.ready, f.starts = append(f.ready, w.ready), append(f.starts, w.start)
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
