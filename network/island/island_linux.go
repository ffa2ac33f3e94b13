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
)

// Island makes the leases of one pool. It remembers nothing: what exists is
// read from the kernel and from the address book each time.
type Island struct {
	naming
	options Options
	book    *address.Book
	gateway netip.Addr
	log     *slog.Logger
}

var (
	_ network.Network = (*Island)(nil)
	_ network.Parker  = (*Island)(nil)
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
	if o.Deny == nil {
		o.Deny = network.DefaultDeny()
	}
	island := &Island{
		naming:  newNaming(o.Pool, filepath.Clean(o.PoolDir)),
		options: o,
		book:    book,
		gateway: address.Gateway(o.Subnet),
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
	addr, err := i.build(ctx, worker, name, settle)
	if err != nil {
		err = errors.Join(err, undo(context.WithoutCancel(ctx), worker))
		return network.Lease{}, fmt.Errorf("making the lease of %s: %w", worker, err)
	}
	return network.Lease{Worker: worker, Namespace: namespacePath(name), Address: addr}, nil
}

// Park leaves the worker nothing but its line in the address book.
func (i *Island) Park(_ context.Context, worker string) error {
	name, err := i.name(worker)
	if err != nil {
		return nil // an id that no lease of the pool can have names nothing in the kernel
	}
	return errors.Join(removeLink(name), removeNamespace(name))
}

// Release removes everything of a worker's lease, and goes on when one part
// cannot be removed.
func (i *Island) Release(ctx context.Context, worker string) error {
	return errors.Join(i.Park(ctx, worker), i.book.Give(i.owner(worker)))
}

// Find lists the workers of which a namespace, a host link or an address
// exists.
func (i *Island) Find(context.Context) ([]string, error) {
	names, err := listNamespaces()
	if err != nil {
		return nil, err
	}
	links, err := listLinks()
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
