package island

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

// The two ends of every veth link have the same addresses everywhere: they are
// known to each other beforehand, and udev leaves an address alone that was
// given.
const (
	hostMAC   = "02:6d:66:00:00:03"
	uplinkMAC = "02:6d:66:00:00:04"
)

// build makes the parts of a lease on its claimed namespace. What is made when
// it fails is Release's to remove.
func (i *Island) build(ctx context.Context, worker, name string, settle settler) (network.Lease, error) {
	exit, err := i.egress()
	if err != nil {
		return network.Lease{}, err
	}
	by, err := i.answering(exit)
	if err != nil {
		return network.Lease{}, err
	}
	if err := makeNamespace(name, func() error { return i.furnish(exit.mtu, by) }); err != nil {
		return network.Lease{}, err
	}
	if err := i.addVeth(name, exit); err != nil {
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
		return i.attend(worker, name, by)
	})
	return network.Lease{
		Worker: worker, Namespace: namespacePath(name), Address: addr, MTU: exit.mtu, IPv6: i.options.IPv6.On,
	}, err
}

// addVeth links the host to the namespace, and lets packets of the worker
// travel on and their answers come back.
func (i *Island) addVeth(name string, exit exit) error {
	if err := makeVeth(name, exit.mtu); err != nil {
		return err
	}
	if err := i.letTravel(name, exit); err != nil {
		return err
	}
	veth := configure(name)
	for _, gateway := range i.gateways() {
		veth.address(host(gateway))
	}
	veth.up()
	return veth.err
}

// letTravel lets packets of the link travel on and their answers come back, and
// keeps IPv6 off it unless workers have it.
func (i *Island) letTravel(name string, exit exit) error {
	ways, err := i.ways(exit)
	if err != nil {
		return err
	}
	errs := []error{forward(name)}
	for _, way := range ways.ipv4 {
		errs = append(errs, forwardEgress(way))
	}
	if !i.options.IPv6.On {
		return errors.Join(append(errs, disableIPv6(name))...)
	}
	errs = append(errs, setSysctl("0", "ipv6", "conf", name, "accept_ra"), forward6(name))
	for _, way := range ways.ipv6 {
		errs = append(errs, forward6(way))
	}
	return errors.Join(errs...)
}

// gateways are the host's own addresses on every link.
func (i *Island) gateways() []netip.Addr { return i.outside(i.gateway) }

// outside returns what has the IPv4 address outside, for each protocol.
func (i *Island) outside(addr netip.Addr) []netip.Addr {
	if subnet := subnet6(i.options.IPv6); subnet.IsValid() {
		return []netip.Addr{addr, outside6(subnet, addr)}
	}
	return []netip.Addr{addr}
}

func makeVeth(name string, mtu int) error {
	ns, err := netns.GetFromPath(namespacePath(name))
	if err != nil {
		return fmt.Errorf("opening network namespace %s: %w", name, err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = name, mtu, mac(hostMAC)
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerNamespace, veth.PeerHardwareAddr = firewall.Uplink, netlink.NsFd(ns), mac(uplinkMAC)
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("linking the host to namespace %s: %w", name, err)
	}
	return nil
}

// settle finds the worker an address that the kernel has no route for yet: a
// pool with another address directory may be on this host. Release gives back
// the ones that did not serve as well.
func (i *Island) settle(ctx context.Context, worker, name string) (netip.Addr, error) {
	for range network.Subnet(i.options.Subnet).Capacity() {
		addr, err := i.book.Take(ctx, i.owner(worker))
		if err != nil {
			return netip.Addr{}, err
		}
		if free, err := i.routeHost(name, worker, addr); free || err != nil {
			return addr, err
		}
	}
	return netip.Addr{}, fmt.Errorf("every address of %s is routed elsewhere on this host", i.options.Subnet)
}

// settleAgain takes the address that was kept for the worker, or another if that
// is not to be had.
func (i *Island) settleAgain(ctx context.Context, worker, name string) (netip.Addr, error) {
	kept, err := i.book.Held(i.owner(worker))
	if err != nil {
		return netip.Addr{}, err
	}
	kept = slices.DeleteFunc(kept, func(addr netip.Addr) bool { return !i.options.Subnet.Contains(addr) })
	for _, addr := range kept {
		if free, err := i.routeHost(name, worker, addr); free || err != nil {
			return addr, err
		}
	}
	i.log.Warn("worker comes back with another address", "worker", worker, "kept", kept)
	return i.settle(ctx, worker, name)
}

// routeHost routes the address to the worker, unless the host has a route for
// it already.
func (i *Island) routeHost(name, worker string, addr netip.Addr) (free bool, err error) {
	veth := configure(name)
	gateways := i.gateways()
	for n, outside := range i.outside(addr) {
		veth.routeTo(outside, gateways[n])
		veth.neighbour(outside, uplinkMAC)
	}
	if errors.Is(veth.err, unix.EEXIST) {
		i.log.Warn("address is routed elsewhere on this host", "address", addr, "worker", worker)
		return false, nil
	}
	return veth.err == nil, veth.err
}

// openUplink configures the way out of the namespace that the thread is in.
func (i *Island) openUplink(addr netip.Addr) error {
	uplink := configure(firewall.Uplink)
	uplink.up()
	gateways := i.gateways()
	for n, outside := range i.outside(addr) {
		uplink.address(host(outside))
		uplink.neighbour(gateways[n], hostMAC)
		uplink.routeTo(gateways[n], outside)
		uplink.defaultRoute(gateways[n])
	}
	if i.options.Bandwidth > 0 {
		uplink.bandwidth(i.options.Bandwidth)
	}
	return uplink.err
}
