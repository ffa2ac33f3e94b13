//go:build linux

package island

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

// Acquire makes a lease for a worker that has none.
func (i *Island) Acquire(ctx context.Context, worker string) (network.Lease, error) {
	return i.make(ctx, worker, i.options.Queues, i.settle, i.Release)
}

// Unpark makes a lease again that was parked.
func (i *Island) Unpark(ctx context.Context, worker string, queues int) (network.Lease, error) {
	return i.make(ctx, worker, queues, i.settleAgain, i.Park)
}

// settler gives the worker whose namespace and link are called name an address.
type settler func(ctx context.Context, worker, name string) (netip.Addr, error)

// make makes a lease; undo removes what was made when it fails. A namespace that
// is there already is another lease's, and stays as it is.
func (i *Island) make(
	ctx context.Context, worker string, queues int, settle settler, undo func(context.Context, string) error,
) (network.Lease, error) {
	name, err := i.name(worker)
	if err != nil {
		return network.Lease{}, err
	}
	if err := claimNamespace(name); err != nil {
		return network.Lease{}, fmt.Errorf("making the lease of %s: %w", worker, err)
	}
	lease, err := i.build(ctx, worker, name, queues, settle)
	if err != nil {
		err = errors.Join(err, undo(context.WithoutCancel(ctx), worker))
		return network.Lease{}, fmt.Errorf("making the lease of %s: %w", worker, err)
	}
	return lease, nil
}

// build makes the parts of a lease on its claimed namespace. What is made when
// it fails is its caller's to remove.
func (i *Island) build(
	ctx context.Context, worker, name string, queues int, settle settler,
) (network.Lease, error) {
	exit, err := i.egress()
	if err != nil {
		return network.Lease{}, err
	}
	by, err := i.answering(exit)
	if err != nil {
		return network.Lease{}, err
	}
	ways, err := i.ways(exit)
	if err != nil {
		return network.Lease{}, err
	}
	host, version, err := i.hostHears()
	if err != nil {
		return network.Lease{}, err
	}
	if err := makeNamespace(name, func() error { return i.furnish(exit.mtu, queues, by, host) }); err != nil {
		return network.Lease{}, err
	}
	if err := makeVeth(name, exit.mtu); err != nil {
		return network.Lease{}, err
	}
	if err := setIPv6(name, i.options.IPv6.On); err != nil {
		return network.Lease{}, err
	}
	if err := i.forwardLease(ctx, name, ways); err != nil {
		return network.Lease{}, err
	}
	if err := i.openVeth(name); err != nil {
		return network.Lease{}, err
	}
	addr, err := settle(ctx, worker, name)
	if err != nil {
		return network.Lease{}, err
	}
	err = Do(namespacePath(name), func() error {
		if err := i.openUplink(addr); err != nil {
			return err
		}
		return i.serve(worker, name, by)
	})
	if err != nil {
		return network.Lease{}, err
	}
	i.leases.add(name, version) // from now on it is kept right; what changed before is mended here
	if err := errors.Join(i.denyHost(name), i.forwardLease(ctx, name, ways)); err != nil {
		return network.Lease{}, err
	}
	return network.Lease{
		Worker: worker, Namespace: namespacePath(name), Address: addr, MTU: exit.mtu, IPv6: i.options.IPv6.On,
		Queues: queues, Search: i.search(),
	}, i.awaitHost(ctx)
}

// furnish makes, inside the namespace, what does not depend on the worker.
// The rules come before anything that a packet could pass.
func (i *Island) furnish(mtu, queues int, by answering, host []netip.Prefix) error {
	var err error
	if i.options.IPv6.On {
		err = routing6()
	} else {
		err = errors.Join(disableIPv6("all"), disableIPv6("default"))
	}
	if err := errors.Join(err, routing()); err != nil {
		return err
	}
	rules := firewall.Policy{
		Policy: i.options.Policy, Resolver: by.redirect, Relay: by.relay,
		FromHost: i.gateway, Host: host, Workers: i.subnets(),
	}
	if err := firewall.Add(firewall.Namespace(rules)); err != nil {
		return err
	}
	loopback := configure("lo")
	loopback.up()
	return errors.Join(loopback.err, i.addTAP(mtu, queues))
}

// CutOff has the worker's namespace drop what its guest sends, and what is sent to it.
func (i *Island) CutOff(_ context.Context, worker string) error {
	return i.within(worker, func() error { return firewall.Add(firewall.Cut()) })
}

// Connect undoes CutOff.
func (i *Island) Connect(_ context.Context, worker string) error {
	return i.within(worker, func() error { return firewall.Remove(firewall.CutTable) })
}

// Isolate has the worker's namespace drop what its guest sends, but for answers.
func (i *Island) Isolate(_ context.Context, worker string) error {
	return i.within(worker, func() error { return firewall.Add(firewall.Isolated()) })
}

// within runs f in the worker's namespace.
func (i *Island) within(worker string, f func() error) error {
	name, err := i.name(worker)
	if err != nil {
		return err
	}
	return Do(namespacePath(name), f)
}

// Park leaves the worker nothing but its line in the address book.
func (i *Island) Park(_ context.Context, worker string) error {
	name, err := i.name(worker)
	if err != nil {
		return nil // an id that no lease of the pool can have names nothing in the kernel
	}
	i.leases.remove(name)
	ended := i.services.end(name)
	i.refused.take(worker)
	return errors.Join(ended, removeLink(name), removeNamespace(name))
}

// Release removes everything of a worker's lease, and goes on when one part
// cannot be removed.
func (i *Island) Release(ctx context.Context, worker string) error {
	errs := []error{i.Park(ctx, worker)}
	held, err := i.book.Held(i.owner(worker))
	i.endConnections(worker, slices.DeleteFunc(slices.Clone(held), isRouted))
	errs = append(errs, err)
	if name, err := i.name(worker); err == nil { // as in Park
		errs = append(errs, firewall.ForgetLink(i.scope, name))
	}
	return errors.Join(append(errs, i.book.Give(i.owner(worker), held))...)
}

// services are what this process runs for leases, beside what the kernel does
// by itself: relays of DNS and readers of packet logs, by namespace. Their
// sockets are in the namespaces, which exist until these are closed.
type services struct {
	mu sync.Mutex
	of map[string][]io.Closer
}

// serve starts what the policy wants for the worker whose namespace, which the
// thread is in, is called name.
func (i *Island) serve(worker, name string, by answering) error {
	if i.options.LogDenied {
		if err := i.logDenied(worker, name); err != nil {
			return err
		}
	}
	if by.relay {
		return i.serveNames(worker, name)
	}
	return nil
}

func (s *services) add(name string, c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[string][]io.Closer)
	}
	s.of[name] = append(s.of[name], c)
}

// end ends those of a namespace. It is idempotent.
func (s *services) end(name string) error {
	s.mu.Lock()
	closers := s.of[name]
	delete(s.of, name)
	s.mu.Unlock()
	var errs []error
	for _, c := range closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
