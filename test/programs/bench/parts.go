//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

const (
	// leaseRounds is how often a lease is made and removed.
	leaseRounds = 20
	// crowd is how many other leases a large host has.
	crowd = 200
	// crowdAtOnce is how many of these are made or removed at the same time.
	crowdAtOnce = 4
)

// measureParts times what workers are made of, and the pool's own overhead.
func (b *bench) measureParts(ctx context.Context, s *stage, d *report.Document) error {
	old, err := b.addOldWay(ctx, s)
	if err != nil {
		return err
	}
	if d.Lease, err = b.measureLease(ctx, old.network, 0); err != nil {
		return err
	}
	if d.CrowdedLease, err = b.measureLease(ctx, old.network, crowd); err != nil {
		return err
	}
	if d.Disks, err = b.measureDisks(ctx, s); err != nil {
		return err
	}
	d.Pool, err = b.measurePool(ctx)
	return err
}

// measureLease makes leases one after the other beside so many others.
func (b *bench) measureLease(ctx context.Context, leases network.Network, others int) (lease report.Lease, err error) {
	b.say("leases, beside %d others", others)
	ids := make([]string, others)
	for i := range ids {
		ids[i] = workerid.New(poolOf[report.Old])
	}
	defer func() {
		err = errors.Join(err, several(ids,
			func(id string) error { return leases.Release(context.WithoutCancel(ctx), id) }))
	}()
	err = several(ids, func(id string) error {
		_, err := leases.Acquire(ctx, id)
		return err
	})
	if err != nil {
		return report.Lease{}, err
	}
	var setUp, tearDown, both []float64
	for range leaseRounds {
		id := workerid.New(poolOf[report.Old])
		began := time.Now()
		if _, err := leases.Acquire(ctx, id); err != nil {
			return report.Lease{}, err
		}
		made := time.Now()
		if err := leases.Release(context.WithoutCancel(ctx), id); err != nil {
			return report.Lease{}, err
		}
		setUp = append(setUp, seconds(made.Sub(began)))
		tearDown = append(tearDown, seconds(time.Since(made)))
		both = append(both, seconds(time.Since(began)))
	}
	return report.Lease{
		Others: others, SetUp: report.NewSeries(setUp), TearDown: report.NewSeries(tearDown),
		Both: report.NewSeries(both),
	}, nil
}

// several does something for each id, for some of them at once.
func several(ids []string, do func(id string) error) error {
	var group errgroup.Group
	group.SetLimit(crowdAtOnce)
	for _, id := range ids {
		group.Go(func() error { return do(id) })
	}
	return group.Wait()
}

// poolBenchmarks are benchmarks of package provider: how long the runner's only
// goroutine is kept by a pool with a thousand workers that cost nothing.
var poolBenchmarks = []struct{ name, times, says string }{
	{"UpdateOf1000", "200x", "pool: Update of 1,000 workers"},
	{"IncreaseBy100Beside1000", "3x", "pool: Increase by 100 beside 1,000"},
}

// measurePool has go test run them.
func (b *bench) measurePool(ctx context.Context) ([]report.Timing, error) {
	b.say("the pool's own overhead, with synthetic workers")
	var timings []report.Timing
	for _, benchmark := range poolBenchmarks {
		command := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-count", "5",
			"-bench", "^Benchmark"+benchmark.name+"$", "-benchtime", benchmark.times, "./provider")
		command.Stderr = os.Stderr
		command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // it ends its own child
		command.WaitDelay = undoLimit
		text, err := command.Output()
		if err != nil {
			return nil, fmt.Errorf("benchmark %s: %w\n%s", benchmark.name, err, text)
		}
		found, err := report.ParseGoBench(string(text))
		if err != nil {
			return nil, err
		}
		if len(found[benchmark.name]) == 0 {
			return nil, errors.New("there is no benchmark " + benchmark.name + " in provider")
		}
		timings = append(timings, report.Timing{Name: benchmark.says, Seconds: report.NewSeries(found[benchmark.name])})
	}
	return timings, nil
}
