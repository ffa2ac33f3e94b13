//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

const (
	// spareMemory is what the host keeps beside what workers fill.
	spareMemory = 2 << 30
	// mostWorkers bounds how many are made, should they take next to nothing.
	mostWorkers = 500
	// crowdSettleLimit bounds how long workers are waited for to be idle, each time
	// that some are added.
	crowdSettleLimit = time.Minute
)

// withRoom lets a pool promise more memory than there is: workers are idle, and
// what they take is what is measured.
func withRoom(c *config.Config) { c.Host.MemoryOvercommit = 1000 }

// measureDensity fills memory with idle workers, of one way after the other.
func (b *bench) measureDensity(ctx context.Context, s *stage, d *report.Document) error {
	free, err := hostMemory("MemAvailable")
	if err != nil {
		return err
	}
	if err := checkRoom(free, b.density); err != nil {
		return err
	}
	old, err := b.addOldWay(ctx, s)
	if err != nil {
		return err
	}
	forks, err := b.addForks(ctx, report.Fork, s.config)
	if err != nil {
		return err
	}
	var fillings []report.Filling
	for _, way := range []struct {
		method
		batch int
	}{{old, 2}, {forks, 8}} {
		filling := report.Filling{Method: way.name()}
		err := b.insist(ctx, func() (err error) {
			filling.Points, err = b.fill(ctx, way.method, way.batch)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", way.name(), err)
		}
		fillings = append(fillings, filling)
	}
	d.Density, err = report.NewDensity(b.density, fillings)
	return err
}

// checkRoom refuses to fill what the host has not.
func checkRoom(free, limit int64) error {
	if free < limit+spareMemory {
		return fmt.Errorf("%d MiB of memory are available, and %d are to be filled with %d left: "+
			"use a smaller -density", free>>20, limit>>20, spareMemory>>20)
	}
	return nil
}

// fill adds workers, so many at once, until they take the memory that is to be
// filled, and removes all.
func (b *bench) fill(ctx context.Context, m method, batch int) (points []report.Point, err error) {
	defer func() { err = errors.Join(err, limited(ctx, m.remove)) }()
	for workers := []worker{}; len(workers) < mostWorkers; {
		b.say("%s: %d and %d more", m.name(), len(workers), batch)
		more, err := m.start(ctx, batch)
		if err != nil {
			return nil, err
		}
		workers = append(workers, more...)
		if err := b.settle(ctx, workers, crowdSettleLimit); err != nil {
			return nil, err
		}
		at := report.Point{Workers: len(workers)}
		for _, w := range workers {
			used, err := memory(w.dir)
			if err != nil {
				return nil, fmt.Errorf("memory of %s: %w", w.id, err)
			}
			at.PSS += used.PSS
		}
		b.say("  %d workers take %d MiB", at.Workers, at.PSS>>20)
		if points = append(points, at); at.PSS >= b.density {
			return points, nil
		}
	}
	return nil, fmt.Errorf("%d workers do not fill the memory", mostWorkers)
}
