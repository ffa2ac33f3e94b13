//go:build linux

package island

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// translated holds the workers' IPv6 addresses outside their namespaces when
// these are translated to the host's. It is the subnet beside network.Guest6.
var translated = netip.MustParsePrefix("fd6d:6179:666c:7901::/64")

// subnet6 holds the workers' IPv6 addresses outside; the zero Prefix without
// IPv6.
func subnet6(v network.IPv6) netip.Prefix {
	switch {
	case !v.On:
		return netip.Prefix{}
	case v.Prefix.IsValid():
		return v.Prefix
	}
	return translated
}

// subnets hold the addresses of the pool's workers outside.
func (i *Island) subnets() []netip.Prefix {
	subnets := []netip.Prefix{i.options.Subnet}
	if subnet := subnet6(i.options.IPv6); subnet.IsValid() {
		subnets = append(subnets, subnet)
	}
	return subnets
}

// outside6 is the IPv6 address outside that goes with an IPv4 address. Its last
// 32 bits are that address: one book keeps both.
func outside6(subnet netip.Prefix, addr netip.Addr) netip.Addr {
	bytes, last := subnet.Addr().As16(), addr.As4()
	copy(bytes[12:], last[:])
	return netip.AddrFrom16(bytes)
}

// outside returns the addresses outside that go with an IPv4 address, itself
// first: one for each protocol.
func (i *Island) outside(addr netip.Addr) []netip.Addr {
	if subnet := subnet6(i.options.IPv6); subnet.IsValid() {
		return []netip.Addr{addr, outside6(subnet, addr)}
	}
	return []netip.Addr{addr}
}

// gateways are the host's own addresses on every link, in the order of outside.
func (i *Island) gateways() []netip.Addr { return i.outside(i.gateway) }

// checkSubnet compares the subnet with every route of the host but the default
// ones and those to workers, which other pools may have there.
func (i *Island) checkSubnet() error {
	links, err := linkNames()
	if err != nil {
		return err
	}
	routes, err := netlinkdump.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, route := range routes {
		link := links[route.LinkIndex]
		if isDefault(route) || strings.HasPrefix(link, firewall.LinkPrefix) {
			continue
		}
		if destination := prefix(route.Dst); destination.Overlaps(i.options.Subnet) {
			return fmt.Errorf("%s overlaps the host's route to %s by %q: choose a subnet that nothing uses",
				i.options.Subnet, destination, link)
		}
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
	i.log.Info("worker has another address than it may have had", "worker", worker, "former", kept)
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

// isRouted says whether the host has a route to the very address. One that a
// worker holds and that is routed without its link did not serve it, see settle:
// it is somebody else's.
func isRouted(addr netip.Addr) bool {
	routes, err := netlink.RouteGetWithOptions(addr.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	return err == nil && len(routes) == 1 && prefix(routes[0].Dst).IsSingleIP()
}
