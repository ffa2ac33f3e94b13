//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"gitlab.com/gitlab-org/fleeting/fleeting/provider"
)

// round is what happens between two quiet points. All choices follow from its
// source of random numbers; what there is to choose from also follows from how far
// the machines have come.
type round struct {
	*stage
	*rand.Rand
	counts map[string]int
	jobs   *jobs
	// full says that the disk is full now, filled that it was in this round.
	full, filled bool
}

// pause is the longest between two acts.
const pause = 200 * time.Millisecond

// rounds runs them, and then ends all pools.
func (s *stage) rounds(ctx context.Context) error {
	say("seed %d, %d rounds, %s", s.seed, s.options.rounds, strings.Join(s.backends, " "))
	if err := s.start(ctx); err != nil {
		return err
	}
	began, counts := time.Now(), make(map[string]int)
	for n := 1; n <= s.options.rounds; n++ {
		r := &round{stage: s, Rand: rand.New(rand.NewPCG(s.seed, uint64(n))), counts: counts, jobs: newJobs(ctx)}
		err := errors.Join(r.run(ctx), r.rest())
		if err == nil {
			err = r.quieten(ctx)
		}
		if err != nil {
			return fmt.Errorf("seed %d, round %d: %w", s.seed, n, err)
		}
		if n%10 == 0 || n == s.options.rounds {
			say("round %3d, %4.0f s, workers %s; in all: %s", n, time.Since(began).Seconds(), s.population(), tally(counts))
		}
	}
	return s.finish(ctx)
}

// act is something that may happen.
type act struct {
	name string
	// weight is how often it happens, in relation to others; root what needs our own
	// namespaces and file system.
	weight int
	root   bool
	// do says whether there was anything to do.
	do func(*round, context.Context, *pool) (did bool, err error)
}

var acts = []act{
	{name: "increase", weight: 24, do: (*round).increase},
	{name: "decrease", weight: 14, do: (*round).decrease},
	{name: "job", weight: 20, do: (*round).job},
	{name: "suspend", weight: 10, do: (*round).suspend},
	{name: "resume", weight: 10, do: (*round).resume},
	{name: "update", weight: 10, do: (*round).update},
	{name: "kill", weight: 5, do: (*round).kill},
	{name: "kill in init", weight: 2, do: (*round).killInInit},
	{name: "stop", weight: 2, do: (*round).stop},
	{name: "flush", weight: 3, root: true, do: (*round).flush},
	{name: "fill", weight: 3, root: true, do: (*round).fill},
}

// least and most are how many acts there are in a round.
const least, most = 4, 12

func (r *round) run(ctx context.Context) error {
	for range least + r.IntN(most-least+1) {
		chosen, p := r.choose(), r.pools[r.IntN(len(r.pools))]
		if chosen.root && !r.root {
			continue
		}
		if err := r.revive(ctx, p); err != nil {
			return err
		}
		if p.process == nil { // the disk is full, and it could not start
			continue
		}
		did, err := chosen.do(r, ctx, p)
		if err != nil {
			return fmt.Errorf("%s in pool %s: %w", chosen.name, p.name, err)
		}
		if did {
			r.counts[chosen.name]++
		}
		if err := sleep(ctx, time.Duration(r.Int64N(int64(pause)))); err != nil {
			return err
		}
	}
	return nil
}

// rest ends what goes on beside the acts.
func (r *round) rest() error {
	r.jobs.end()
	return r.free()
}

func (r *round) choose() act {
	all := 0
	for _, a := range acts {
		all += a.weight
	}
	n := r.IntN(all)
	for _, a := range acts {
		if n -= a.weight; n < 0 {
			return a
		}
	}
	panic("the weights do not add up")
}

// some chooses from a list, each with the same chance of a half, but one at least.
func (r *round) some(ids []string) (chosen []string) {
	for _, id := range ids {
		if r.IntN(2) == 0 {
			chosen = append(chosen, id)
		}
	}
	if len(chosen) == 0 && len(ids) > 0 {
		chosen = append(chosen, ids[r.IntN(len(ids))])
	}
	return chosen
}

// increase asks for more workers than there may be room for.
func (r *round) increase(ctx context.Context, p *pool) (did bool, err error) {
	granted, err := p.process.Increase(ctx, 1+r.IntN(3))
	if err != nil && strings.Contains(err.Error(), "pool is full") {
		return false, nil
	}
	p.promises.grant(granted)
	return granted > 0, err
}

func (r *round) decrease(ctx context.Context, p *pool) (did bool, err error) {
	ids := r.some(p.workers(provider.StateCreating, provider.StateRunning, provider.StateSuspending,
		provider.StateSuspended, provider.StateResuming))
	if len(ids) == 0 {
		return false, nil
	}
	return true, p.dismiss(ctx, ids)
}

func (r *round) update(ctx context.Context, p *pool) (did bool, err error) {
	return true, p.update(ctx)
}

func (r *round) suspend(ctx context.Context, p *pool) (did bool, err error) {
	return r.toggle(ctx, p, provider.StateRunning, provider.StateSuspended, p.process.Suspend)
}

func (r *round) resume(ctx context.Context, p *pool) (did bool, err error) {
	return r.toggle(ctx, p, provider.StateSuspended, provider.StateRunning, p.process.Resume)
}

// toggle asks workers to change, some of which may be on their way out: these refuse.
func (r *round) toggle(
	ctx context.Context, p *pool, from, to provider.State, change func(context.Context, []string) ([]string, error),
) (did bool, err error) {
	ids := r.some(p.workers(from))
	if len(ids) == 0 || !p.traits.suspends {
		return false, nil
	}
	accepted, err := change(ctx, ids)
	refused := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(accepted, id) })
	p.promises.ask(accepted, to)
	p.promises.refuse(refused, to)
	switch {
	case err != nil && len(refused) == 0:
		return false, fmt.Errorf("an error beside all of them: %w", err)
	case err == nil && len(refused) > 0:
		return false, fmt.Errorf("%q refused to be %s, and no error says why", refused, to)
	}
	return len(accepted) > 0, nil
}

// job begins a job on a worker that was last seen running, and does not wait for
// it.
func (r *round) job(ctx context.Context, p *pool) (did bool, err error) {
	ids := p.workers(provider.StateRunning)
	if len(ids) == 0 {
		return false, nil
	}
	id := ids[r.IntN(len(ids))]
	info, err := p.process.ConnectInfo(ctx, id)
	if err != nil {
		return false, nil // it is not running any more; that live ones answer, the end of the round shows
	}
	r.jobs.begin(info)
	return true, nil
}

// kill kills a plugin while some workers are on their way up.
func (r *round) kill(ctx context.Context, p *pool) (did bool, err error) {
	if _, err := r.increase(ctx, p); err != nil {
		return false, err
	}
	if err := sleep(ctx, time.Duration(r.Int64N(int64(time.Second)))); err != nil {
		return false, err
	}
	if err := p.kill(); err != nil {
		return false, err
	}
	return true, r.revive(ctx, p)
}

// killInInit kills a plugin while it removes what the last one left.
func (r *round) killInInit(ctx context.Context, p *pool) (did bool, err error) {
	if err := p.kill(); err != nil {
		return false, err
	}
	if err := p.launch(); err != nil {
		return false, err
	}
	done := make(chan struct{})
	process := p.process
	go func() {
		defer close(done)
		_ = process.Initialise(ctx) // which fails when the process is killed
	}()
	err = sleep(ctx, time.Duration(r.Int64N(int64(time.Second))))
	err = errors.Join(err, p.killInitialising())
	<-done
	if err != nil {
		return false, err
	}
	return true, r.revive(ctx, p)
}

func (r *round) stop(ctx context.Context, p *pool) (did bool, err error) {
	if err := p.stop(ctx); err != nil && !r.filled {
		return false, err
	}
	return true, r.revive(ctx, p)
}

// revive starts the plugin of a pool that has none. On a full disk that may fail.
func (r *round) revive(ctx context.Context, p *pool) error {
	if p.process != nil {
		return nil
	}
	err := p.start(ctx)
	if err != nil && r.full && p.process == nil {
		r.counts["init failed on a full disk"]++
		fmt.Fprintln(r.log, err)
		return nil
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
