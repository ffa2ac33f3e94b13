//go:build linux

package island

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"

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

	services services
	refused  refused
	leases   leases

	// mu guards what is there from Open to Close.
	mu       sync.Mutex
	guard    *guard
	follower *follower
}

var (
	_ network.Network = (*Island)(nil)
	_ network.Parker  = (*Island)(nil)
	_ network.Denier  = (*Island)(nil)
	_ network.Guard   = (*Island)(nil)
	_ network.Cutter  = (*Island)(nil)

	_ network.Isolator   = (*Island)(nil)
	_ network.Accountant = (*Island)(nil)
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

// Open puts the pool's rules on the host in place. It refuses a subnet that
// the host already uses for something else.
func (i *Island) Open(ctx context.Context) error {
	if err := i.checkSubnet(); err != nil {
		return fmt.Errorf("network.subnet: %w", err)
	}
	out, err := i.egress()
	if err != nil {
		return err
	}
	answering, err := i.answering(out)
	if err != nil {
		return err
	}
	if answering.nobody() {
		i.log.Warn("the host names no resolver: set network.dns")
	}
	if err := shareNamespaces(ctx); err != nil {
		return err
	}
	err = i.watch(firewall.Host(firewall.HostPolicy{
		Scope: i.scope, Subnet: i.options.Subnet, Egress: i.options.Egress, Resolver: answering.redirect,
		Subnet6: subnet6(i.options.IPv6), Routed: i.options.IPv6.Prefix.IsValid(), LogGroup: i.hostLogGroup(),
	}))
	if err != nil {
		return err
	}
	return i.logDeniedByHost()
}

// watch puts the table in place, and keeps it and the leases right whatever others
// change on the host, until unwatch.
func (i *Island) watch(table firewall.Table) error {
	if err := i.unwatch(); err != nil {
		return err
	}
	guard, err := newGuard(table, i.log)
	if err != nil {
		return err
	}
	follower, err := i.newFollower()
	if err != nil {
		return errors.Join(err, guard.Close())
	}
	i.mu.Lock()
	i.guard, i.follower = guard, follower
	i.mu.Unlock()
	follower.forwarding.ask()
	return i.followHost() // after the first moment that is listened to
}

// unwatch ends what watch began, but for the table. It is idempotent.
func (i *Island) unwatch() error {
	i.mu.Lock()
	guard, follower := i.guard, i.follower
	i.guard, i.follower = nil, nil
	i.mu.Unlock()
	if guard == nil {
		return nil
	}
	return errors.Join(guard.Close(), follower.Close())
}

// awaitHost returns when the host has the pool's rules. A network that is not open
// has none.
func (i *Island) awaitHost(ctx context.Context) error {
	i.mu.Lock()
	guard := i.guard
	i.mu.Unlock()
	if guard == nil {
		return nil
	}
	return guard.await(ctx)
}

// Close removes the pool's rules. When no pool of the host has a lease any more,
// the interfaces that did not forward before stop forwarding.
func (i *Island) Close(ctx context.Context) error {
	return errors.Join(
		i.unwatch(), i.services.end(ofHost), firewall.Remove(firewall.HostTable(i.scope)), restoreForwarding(ctx))
}

// Shared names what the pool's leases share and what is on the host now: its
// nftables table, from Open to Close.
func (i *Island) Shared(context.Context) ([]string, error) {
	table := firewall.HostTable(i.scope)
	exists, err := firewall.Exists(table)
	if err != nil || !exists {
		return nil, err
	}
	return []string{"nftables table inet " + table}, nil
}

// Lacking says what of that is missing or incomplete; empty when all is in place.
func (i *Island) Lacking(context.Context) (string, error) {
	state, err := firewall.HostState(i.scope)
	if err != nil || state == firewall.Complete {
		return "", err
	}
	return fmt.Sprintf("nftables table inet %s is %s", firewall.HostTable(i.scope), state), nil
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
	return slices.Compact(found), nil
}
