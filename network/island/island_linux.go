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

var _ network.Network = (*Island)(nil)

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
		o.Deny = firewall.Private()
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

// Acquire makes a lease for a worker that has none; it leaves a lease that
// exists as it is.
func (i *Island) Acquire(ctx context.Context, worker string) (network.Lease, error) {
	name, err := i.name(worker)
	if err != nil {
		return network.Lease{}, err
	}
	if err := claimNamespace(name); err != nil {
		return network.Lease{}, fmt.Errorf("making the lease of %s: %w", worker, err)
	}
	addr, err := i.build(ctx, worker, name)
	if err != nil {
		err = errors.Join(err, i.Release(context.WithoutCancel(ctx), worker))
		return network.Lease{}, fmt.Errorf("making the lease of %s: %w", worker, err)
	}
	return network.Lease{Worker: worker, Namespace: namespacePath(name), Address: addr}, nil
}

// Release removes everything of a worker's lease, and goes on when one part
// cannot be removed. An id that no lease of the pool can have names nothing in
// the kernel.
func (i *Island) Release(_ context.Context, worker string) error {
	var errs []error
	if name, err := i.name(worker); err == nil {
		errs = append(errs, removeLink(name), removeNamespace(name))
	}
	return errors.Join(append(errs, i.book.Give(i.owner(worker)))...)
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
