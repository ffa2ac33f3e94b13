package island

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// nobody are addresses that no host has and none routes but by default: the
// dummy address of RFC 7600, and one that is to be discarded (RFC 6666).
var nobody = map[int]net.IP{netlink.FAMILY_V4: net.ParseIP("192.0.0.8"), netlink.FAMILY_V6: net.ParseIP("100::1")}

// defaultRoute returns the preferred one of the main table, nil without one.
// The kernel is asked for it alone first, since the host has routes to every
// worker as well; its answer counts if no rule of policy routing made it.
func defaultRoute(family int) (*netlink.Route, error) {
	used, err := netlink.RouteGetWithOptions(nobody[family], &netlink.RouteGetOptions{FIBMatch: true})
	if err == nil && len(used) == 1 && isDefault(used[0]) && used[0].Table == unix.RT_TABLE_MAIN {
		return &used[0], nil
	}
	routes, err := netlinkdump.RouteList(nil, family)
	if err != nil {
		return nil, err
	}
	routes = slices.DeleteFunc(routes, func(r netlink.Route) bool { return !isDefault(r) })
	if len(routes) == 0 {
		return nil, nil
	}
	best := slices.MinFunc(routes, func(a, b netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })
	return &best, nil
}

// defaultLink returns the link that the default route takes, nil without one.
func defaultLink(family int) (netlink.Link, error) {
	route, err := defaultRoute(family)
	if err != nil || route == nil {
		return nil, err
	}
	index := route.LinkIndex
	if len(route.MultiPath) > 0 {
		index = route.MultiPath[0].LinkIndex
	}
	if index == 0 { // unreachable, or some other route that leads nowhere
		return nil, nil
	}
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("looking at the link of the default route: %w", err)
	}
	return link, nil
}

// routedLinks returns the links, but for those of workers, that the host has
// routes by to parts of networks. It reads all routes, so it is asked once for
// all networks, and only when there are any.
func routedLinks(family int, networks []netip.Prefix) ([]string, error) {
	if len(networks) == 0 {
		return nil, nil
	}
	routes, err := netlinkdump.RouteList(nil, family)
	if err != nil {
		return nil, err
	}
	names, err := linkNames()
	if err != nil {
		return nil, err
	}
	var links []string
	for _, r := range routes {
		name := names[r.LinkIndex]
		if isDefault(r) || name == "" || name == "lo" || strings.HasPrefix(name, firewall.LinkPrefix) {
			continue
		}
		if slices.ContainsFunc(networks, prefix(r.Dst).Overlaps) {
			links = append(links, name)
		}
	}
	return links, nil
}

// isRouted says whether the host has a route to the very address. One that a
// worker holds and that is routed without its link did not serve it, see settle:
// it is somebody else's.
func isRouted(addr netip.Addr) bool {
	routes, err := netlink.RouteGetWithOptions(addr.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	return err == nil && len(routes) == 1 && prefix(routes[0].Dst).IsSingleIP()
}

func isDefault(route netlink.Route) bool { return prefix(route.Dst).Bits() == 0 }

// prefix converts what netlink says; nothing there means everything.
func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	addr, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones)
}
