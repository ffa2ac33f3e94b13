package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/teardown"
)

// sharer is a network that puts more on the host than its leases.
type sharer interface {
	// Shared names what all leases of the pool share and what is there.
	Shared(context.Context) ([]string, error)
}

// remains is what exists of one pool, whoever knows of it. All but shared are
// ids of workers. Suspended are those that the pool's next plugin process takes
// over; nothing of them is in the other lists.
type remains struct {
	machines, leases, directories []string
	suspended                     []string
	shared                        []string
}

// Leftovers lists what is left on this host of a pool that no plugin process
// serves any more: machines, leases, worker directories, and what they shared.
// It only looks.
func Leftovers(ctx context.Context, c config.Config) ([]string, error) {
	candidates, err := candidates(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	found, err := findRemains(ctx, c, candidates)
	return found.list(), err
}

// findRemains asks every backend that may have served the pool. What one of
// them cannot tell does not hide what the others found.
func findRemains(ctx context.Context, c config.Config, candidates []assembly) (remains, error) {
	var found remains
	var errs []error
	for _, a := range candidates {
		errs = append(errs, found.addMachines(ctx, a), found.addLeases(ctx, a))
	}
	errs = append(errs, found.addDirectories(c))
	found.keepSuspended()
	for _, list := range []*[]string{&found.leases, &found.shared} { // backends may share a kind of network
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if err := errors.Join(errs...); err != nil {
		return found, fmt.Errorf("looking for what is left of pool %q: %w", c.Pool, err)
	}
	return found, nil
}

func (r *remains) addMachines(ctx context.Context, a assembly) error {
	machines, err := a.backend.Find(ctx)
	for _, machine := range machines {
		r.machines = append(r.machines, machine.ID())
	}
	return err
}

func (r *remains) addLeases(ctx context.Context, a assembly) error {
	leases, err := a.network.Find(ctx)
	r.leases = append(r.leases, leases...)
	network, ok := a.network.(sharer)
	if !ok {
		return err
	}
	shared, sharedErr := network.Shared(ctx)
	r.shared = append(r.shared, shared...)
	return errors.Join(err, sharedErr)
}

func (r *remains) addDirectories(c config.Config) error {
	records, err := store.Look(c.PoolDir())
	if err != nil {
		return err
	}
	r.directories, err = records.List()
	for _, id := range r.directories {
		if record, err := records.Load(id); err == nil && pool.State(record.State) == pool.Suspended {
			r.suspended = append(r.suspended, id)
		}
	}
	return err
}

// keepSuspended takes the suspended workers out of the lists of what is left.
func (r *remains) keepSuspended() {
	for _, list := range []*[]string{&r.machines, &r.leases, &r.directories} {
		*list = slices.DeleteFunc(*list, func(id string) bool { return slices.Contains(r.suspended, id) })
	}
}

// giveUpSuspended makes the suspended workers part of what is left.
func (r *remains) giveUpSuspended() {
	r.directories = append(r.directories, r.suspended...)
	r.suspended = nil
}

// workers are all ids of which anything is left, in order.
func (r remains) workers() []string {
	ids := make(map[string]struct{})
	for _, id := range slices.Concat(r.machines, r.leases, r.directories) {
		ids[id] = struct{}{}
	}
	return slices.Sorted(maps.Keys(ids))
}

// list is for people. It is never nil, so that it is a list in JSON too.
func (r remains) list() []string {
	lines := []string{}
	for _, kind := range []struct {
		name  string
		found []string
	}{{"machine", r.machines}, {"lease", r.leases}, {"worker directory", r.directories}} {
		for _, id := range kind.found {
			lines = append(lines, kind.name+" "+id)
		}
	}
	return append(lines, r.shared...)
}

// remove takes away what was found.
func (r remains) remove(ctx context.Context, records *store.Store, candidates []assembly) error {
	steps := teardown.Steps{Directory: records.Remove}
	for _, a := range candidates {
		steps.Machine = append(steps.Machine, a.backend.Destroy)
		steps.Lease = append(steps.Lease, a.network.Release)
	}
	var errs []error
	for _, id := range r.workers() {
		errs = append(errs, steps.Run(ctx, id))
	}
	if len(r.shared) > 0 {
		for _, a := range candidates {
			errs = append(errs, a.network.Close(ctx))
		}
	}
	return errors.Join(errs...)
}
