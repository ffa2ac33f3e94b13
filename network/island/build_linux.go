package island

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/address"
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
func (i *Island) build(ctx context.Context, worker, name string, settle settler) (netip.Addr, error) {
	exit, err := i.egress()
	if err != nil {
		return netip.Addr{}, err
	}
	if err := makeNamespace(name, func() error { return i.furnish(exit.mtu) }); err != nil {
		return netip.Addr{}, err
	}
	if err := i.addVeth(name, exit); err != nil {
		return netip.Addr{}, err
	}
	addr, err := settle(ctx, worker, name)
	if err != nil {
		return netip.Addr{}, err
	}
	return addr, Do(namespacePath(name), func() error { return i.openUplink(addr) })
}

// furnish makes, inside the namespace, what does not depend on the worker.
// The rules come before anything that a packet could pass.
func (i *Island) furnish(mtu int) error {
	if err := errors.Join(disableIPv6("all"), disableIPv6("default"), routing()); err != nil {
		return err
	}
	if err := firewall.Apply(firewall.Namespace(i.policy())); err != nil {
		return err
	}
	loopback := configure("lo")
	loopback.up()
	return errors.Join(loopback.err, i.addTAP(mtu))
}

func (i *Island) policy() firewall.Policy {
	return firewall.Policy{Allow: prefixes(i.options.Allow), Deny: prefixes(i.options.Deny), Resolver: i.resolver()}
}

func prefixes(destinations []network.Destination) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, d := range destinations {
		prefixes = append(prefixes, d.Prefix)
	}
	return prefixes
}

// resolver is the configured one, else the host's; the zero Addr when it has
// none that workers can reach.
func (i *Island) resolver() netip.Addr {
	if len(i.options.DNS) > 0 {
		return i.options.DNS[0]
	}
	return hostResolver(resolvConfs)
}

// addTAP makes the gateway's end of the guest's link, whatever its other end
// is: the rules match it by name.
func (i *Island) addTAP(mtu int) error {
	attach := makeTAP
	if i.options.Containers {
		attach = func(name string) error { return makePeer(name, mtu) }
	}
	if err := attach(network.TAP); err != nil {
		return err
	}
	tap := configure(network.TAP)
	tap.mtu(mtu)
	tap.mac(network.GatewayMAC)
	tap.address(netip.PrefixFrom(network.Gateway, network.Guest.Bits()))
	tap.up()
	tap.neighbour(network.Guest.Addr(), network.GuestMAC)
	return tap.err
}

// addVeth links the host to the namespace, and lets packets of the worker
// travel on and their answers come back.
func (i *Island) addVeth(name string, exit exit) error {
	if err := makeVeth(name, exit.mtu); err != nil {
		return err
	}
	if err := errors.Join(disableIPv6(name), forward(name)); err != nil {
		return err
	}
	if exit.name != "" {
		if err := forwardEgress(exit.name); err != nil {
			return err
		}
	}
	veth := configure(name)
	veth.address(host(i.gateway))
	veth.up()
	return veth.err
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
	for range address.Capacity(i.options.Subnet) {
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
	kept, err := i.book.Kept(i.owner(worker))
	if err != nil {
		return netip.Addr{}, err
	}
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
	veth.routeTo(addr, i.gateway)
	if errors.Is(veth.err, unix.EEXIST) {
		i.log.Warn("address is routed elsewhere on this host", "address", addr, "worker", worker)
		return false, nil
	}
	veth.neighbour(addr, uplinkMAC)
	return true, veth.err
}

// openUplink configures the namespace's way out, the last part of a lease.
func (i *Island) openUplink(addr netip.Addr) error {
	uplink := configure(firewall.Uplink)
	uplink.address(host(addr))
	uplink.up()
	uplink.neighbour(i.gateway, hostMAC)
	uplink.routeTo(i.gateway, addr)
	uplink.defaultRoute(i.gateway)
	return uplink.err
}
