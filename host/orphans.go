package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

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

// orphans are what exists of one pool that no process serves. All but shared are
// ids of workers. Reservations are what workers hold of the host's budget. Suspended are those that the pool's next plugin process takes
// over, held ones among them; nothing of them is in the other lists.
type orphans struct {
	machines, leases, reservations, directories []string
	suspended                                   []string
	shared                                      []string
}

// Orphans lists what exists on this host of a pool that no plugin process serves
// any more: machines, leases, reservations, worker directories, and what they
// shared. It only
// looks.
func (h *Host) Orphans(ctx context.Context, c config.Config) ([]string, error) {
	candidates, err := h.candidates(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	found, err := findOrphans(ctx, c, candidates)
	return found.list(), err
}

// findOrphans asks every backend that may have served the pool. What one of them
// cannot tell does not hide what the others found.
func findOrphans(ctx context.Context, c config.Config, candidates []Assembly) (orphans, error) {
	var found orphans
	var errs []error
	for _, a := range candidates {
		machines, err := a.Backend.Find(ctx)
		for _, machine := range machines {
			found.machines = append(found.machines, machine.ID())
		}
		leases, leaseErr := a.Network.Find(ctx)
		found.leases = append(found.leases, leases...)
		errs = append(errs, err, leaseErr)
		if network, ok := a.Network.(sharer); ok {
			shared, err := network.Shared(ctx)
			found.shared = append(found.shared, shared...)
			errs = append(errs, err)
		}
	}
	errs = append(errs, found.addReservations(c), found.addDirectories(c))
	// One whose machine runs is not suspended, whatever its record says.
	found.suspended = slices.DeleteFunc(found.suspended, func(id string) bool {
		return slices.Contains(found.machines, id)
	})
	for _, list := range []*[]string{&found.machines, &found.leases, &found.shared} { // backends may share a kind
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	for _, list := range []*[]string{&found.machines, &found.leases, &found.reservations, &found.directories} {
		*list = slices.DeleteFunc(*list, func(id string) bool { return slices.Contains(found.suspended, id) })
	}
	if err := errors.Join(errs...); err != nil {
		return found, fmt.Errorf("looking for orphans of pool %q: %w", c.Pool, err)
	}
	return found, nil
}

func (o *orphans) addReservations(c config.Config) error {
	share, err := budgetOf(c)
	if err != nil {
		return err
	}
	o.reservations, err = share.Find()
	return err
}

func (o *orphans) addDirectories(c config.Config) error {
	records, err := store.Look(c.PoolDir())
	if err != nil {
		return err
	}
	o.directories, err = records.List()
	for _, id := range o.directories {
		if record, err := records.Load(id); err == nil && isKept(record, time.Now()) {
			o.suspended = append(o.suspended, id)
		}
	}
	return err
}

// isKept says whether the pool's next plugin process takes a worker over: one that is
// suspended, or that is held, as long as it is, and was saved.
func isKept(record store.Record, now time.Time) bool {
	switch pool.State(record.State) {
	case pool.Suspended:
		return true
	case pool.Held:
		return record.Held.Lasts(now) && record.Held.Saved
	}
	return false
}

// list is for people. It is never nil, so that it is a list in JSON too.
func (o orphans) list() []string {
	lines := []string{}
	for _, kind := range []struct {
		name  string
		found []string
	}{{"machine", o.machines}, {"lease", o.leases}, {"reservation", o.reservations}, {"worker directory", o.directories}} {
		for _, id := range kind.found {
			lines = append(lines, kind.name+" "+id)
		}
	}
	return append(lines, o.shared...)
}

// remove removes what was found, by every backend that may have made it.
func (o orphans) remove(
	ctx context.Context, c config.Config, records *store.Store, candidates []Assembly,
) error {
	share, err := budgetOf(c)
	if err != nil {
		return err
	}
	steps := teardown.Steps{Budget: []teardown.Step{share.Release}, Directory: records.Remove}
	for _, a := range candidates {
		steps.Machine = append(steps.Machine, a.Backend.Destroy)
		steps.Lease = append(steps.Lease, a.Network.Release)
	}
	workers := slices.Concat(o.machines, o.leases, o.reservations, o.directories)
	slices.Sort(workers)
	var errs []error
	for _, id := range slices.Compact(workers) {
		errs = append(errs, steps.Run(ctx, id))
	}
	if len(o.shared) > 0 {
		for _, a := range candidates {
			errs = append(errs, a.Network.Close(ctx))
		}
	}
	return errors.Join(errs...)
}
