//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gitlab.com/gitlab-org/fleeting/fleeting/provider"
	"golang.org/x/sync/errgroup"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/inventory"
)

// quieten waits until nothing is under way any more, and requires that all is well
// then.
func (r *round) quieten(ctx context.Context) error {
	for _, p := range r.pools {
		if err := r.revive(ctx, p); err != nil {
			return err
		}
		if err := p.settle(ctx); err != nil {
			return err
		}
	}
	for _, p := range r.pools {
		if err := p.allAnswer(ctx); err != nil {
			return err
		}
		if err := r.requireTemplate(ctx, p); err != nil {
			return err
		}
	}
	return r.stage.inOrder(ctx)
}

// requireTemplate requires that no pool has lost its template. On a full disk it may,
// and makes another one.
func (r *round) requireTemplate(ctx context.Context, p *pool) error {
	if r.filled {
		return p.awaitTemplate(ctx)
	}
	missing, err := p.missingTemplate()
	if err == nil && len(missing) > 0 {
		err = errors.New(missing[0])
	}
	return err
}

// settle waits until no worker is on its way anywhere, and those are gone that were
// to go.
func (p *pool) settle(ctx context.Context) error {
	err := await(ctx, "waiting for quiet in pool "+p.name, func() ([]string, error) {
		err := p.update(ctx)
		return p.promises.moving(), err
	})
	if err != nil {
		return err
	}
	return errors.Join(p.promises.settled()...)
}

// allAnswer asks all workers at once.
func (p *pool) allAnswer(ctx context.Context) error {
	var group errgroup.Group
	for _, id := range p.workers(provider.StateRunning) {
		group.Go(func() error { return p.answers(ctx, id) })
	}
	return group.Wait()
}

// orderLimit bounds the removal of orphans: one that withstood is tried again after a
// minute at most.
const orderLimit = 3 * time.Minute

// inOrder waits until there is nothing on the host that belongs to nobody, and all
// that workers and pools should have. What goes on in the background, such as the
// end of an orphan that withstood, is over some time.
func (s *stage) inOrder(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	return await(ctx, "on the host", func() ([]string, error) {
		things, err := inventory.Look(s.host)
		return inventory.Compare(things, s.owners()), err
	})
}

// owners are whom things may belong to.
func (s *stage) owners() map[inventory.Owner]inventory.Belongings {
	owners := make(map[inventory.Owner]inventory.Belongings)
	for _, p := range s.pools {
		maps.Copy(owners, p.owners())
	}
	return owners
}

// owners are the pool, its plugin, and its workers, with what each of them has.
func (p *pool) owners() map[inventory.Owner]inventory.Belongings {
	pool := inventory.Belongings{
		Must: []inventory.Kind{inventory.PoolFile}, May: []inventory.Kind{inventory.End, inventory.Console},
	}
	if p.traits.forks {
		pool.Must = append(pool.Must, inventory.Template)
	}
	owners := make(map[inventory.Owner]inventory.Belongings)
	if p.process != nil {
		owners[inventory.Plugin(p.pid)] = inventory.Belongings{
			Must: []inventory.Kind{inventory.Process, inventory.Temporary},
		}
		if p.traits.leased {
			pool.Must = append(pool.Must, inventory.Table)
		}
		owners[inventory.Everyone] = inventory.Belongings{May: []inventory.Kind{inventory.Forwarding}}
	}
	owners[inventory.Pool(p.name)] = pool
	resting := []inventory.Kind{inventory.Directory, inventory.Record, inventory.Reservation}
	if p.traits.leased {
		resting = append(resting, inventory.Address)
	}
	for _, id := range p.workers(provider.StateSuspended) {
		owners[inventory.Worker(id)] = inventory.Belongings{Must: resting}
	}
	running := slices.Concat(resting, p.traits.machine)
	if p.traits.leased {
		running = append(running, inventory.Namespace, inventory.Mount, inventory.Link)
	}
	for _, id := range p.workers(provider.StateRunning) {
		owners[inventory.Worker(id)] = inventory.Belongings{Must: running}
	}
	return owners
}

// finish deletes all workers and ends all pools, of which nothing is left then but
// what the next plugin can use.
func (s *stage) finish(ctx context.Context) error {
	for _, p := range s.pools {
		if err := p.dismiss(ctx, p.workers(provider.StateRunning, provider.StateSuspended)); err != nil {
			return err
		}
		err := p.settle(ctx)
		if err == nil {
			err = p.stop(ctx)
		}
		if err != nil {
			return fmt.Errorf("at the end of pool %s: %w", p.name, err)
		}
	}
	return s.inOrder(ctx)
}

// population says how many workers there are, by pool.
func (s *stage) population() string {
	var parts []string
	for _, p := range s.pools {
		parts = append(parts, fmt.Sprintf("%s %d+%d", p.backend, len(p.workers(provider.StateRunning)),
			len(p.workers(provider.StateSuspended))))
	}
	return strings.Join(parts, " ")
}

func tally(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(parts, ", ")
}
