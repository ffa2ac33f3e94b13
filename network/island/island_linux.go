package island

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/address"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/nameserver"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// Island makes the leases of one pool. What exists is read from the kernel and
// from the address book each time; all that is remembered is what this process
// runs for leases of its own.
type Island struct {
	naming
	options Options
	book    *address.Book
	gateway netip.Addr
	names   nameserver.Names
	log     *slog.Logger

	attendants attendants
}

var (
	_ network.Network = (*Island)(nil)
	_ network.Parker  = (*Island)(nil)
	_ network.Denier  = (*Island)(nil)
)

// New returns the network of a pool. It changes nothing on the host.
func New(o Options) (*Island, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	book, err := address.New(o.AddressDir, o.Subnet)
	if err != nil {
		return nil, fmt.Errorf("network.subnet: %w", err)
	}
	names, err := nameserver.ParseNames(o.Domains)
	if err != nil {
		return nil, fmt.Errorf("network.domains: %w", err)
	}
	island := &Island{
		naming:  newNaming(o.Pool, filepath.Clean(o.PoolDir)),
		options: o,
		book:    book,
		gateway: network.Subnet(o.Subnet).Gateway(),
		names:   names,
		log:     o.Log,
	}
	if island.log == nil {
		island.log = slog.New(slog.DiscardHandler)
	}
	return island, nil
}

// Acquire makes a lease for a worker that has none.
func (i *Island) Acquire(ctx context.Context, worker string) (network.Lease, error) {
	return i.make(ctx, worker, i.settle, i.Release)
}

// Unpark makes a lease again that was parked.
func (i *Island) Unpark(ctx context.Context, worker string) (network.Lease, error) {
	return i.make(ctx, worker, i.settleAgain, i.Park)
}

// settler gives the worker whose namespace and link are called name an address.
type settler func(ctx context.Context, worker, name string) (netip.Addr, error)

// make makes a lease; undo removes what was made when it fails. A namespace that
// is there already is another lease's, and stays as it is.
func (i *Island) make(ctx context.Context, worker string, settle settler, undo func(context.Context, string) error) (network.Lease, error) {
	name, err := i.name(worker)
	if err != nil {
		return network.Lease{}, err
	}
	if err := claimNamespace(name); err != nil {
		return network.Lease{}, fmt.Errorf("making the lease of %s: %w", worker, err)
	}
	lease, err := i.build(ctx, worker, name, settle)
	if err != nil {
		err = errors.Join(err, undo(context.WithoutCancel(ctx), worker))
		return network.Lease{}, fmt.Errorf("making the lease of %s: %w", worker, err)
	}
	return lease, nil
}

// Park leaves the worker nothing but its line in the address book.
func (i *Island) Park(_ context.Context, worker string) error {
	name, err := i.name(worker)
	if err != nil {
		return nil // an id that no lease of the pool can have names nothing in the kernel
	}
	return errors.Join(i.attendants.dismiss(name), removeLink(name), removeNamespace(name))
}

// Release removes everything of a worker's lease, and goes on when one part
// cannot be removed.
func (i *Island) Release(ctx context.Context, worker string) error {
	parked := i.Park(ctx, worker)
	held, err := i.book.Held(i.owner(worker))
	gone := slices.DeleteFunc(slices.Clone(held), isRouted)
	i.endConnections(worker, gone)
	i.hangUp(worker, gone)
	return errors.Join(parked, err, i.forget(worker), i.book.Give(i.owner(worker), held))
}

// forget drops what the host counts for the worker.
func (i *Island) forget(worker string) error {
	name, err := i.name(worker)
	if err != nil {
		return nil // as in Park
	}
	return firewall.ForgetLink(i.scope, name)
}

// Find lists the workers of which a namespace, a host link or an address
// exists.
func (i *Island) Find(context.Context) ([]string, error) {
	names, err := listNamespaces()
	if err != nil {
		return nil, err
	}
	links, err := netlinkdump.LinkList()
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		names = append(names, link.Attrs().Name)
	}
	owners, err := i.book.Owners()
	if err != nil {
		return nil, err
	}
	return i.workers(names, owners), nil
}

func (i *Island) workers(names []string, owners map[netip.Addr]string) []string {
	var found []string
	for _, name := range names {
		if worker, ok := i.worker(name); ok {
			found = append(found, worker)
		}
	}
	for _, owner := range owners {
		if worker, ok := i.workerOf(owner); ok {
			found = append(found, worker)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
