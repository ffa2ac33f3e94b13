package island

import (
	"cmp"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// usualMTU is for a host that has no way out, and so no MTU to copy.
const usualMTU = 1500

// exit is the interface that workers leave the host by; without a name there
// is none.
type exit struct {
	name string
	mtu  int
}

// egress returns the configured interface, else that of the default route. It
// is asked for every lease: a laptop changes networks.
func (i *Island) egress() (exit, error) {
	if i.options.Egress != "" {
		link, err := netlink.LinkByName(i.options.Egress)
		if err != nil {
			return exit{}, fmt.Errorf("network.egress %q: %w", i.options.Egress, err)
		}
		return exit{link.Attrs().Name, link.Attrs().MTU}, nil
	}
	index, err := defaultLink()
	if err != nil || index == 0 {
		return exit{mtu: usualMTU}, err
	}
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return exit{}, fmt.Errorf("looking at the link of the default route: %w", err)
	}
	return exit{link.Attrs().Name, link.Attrs().MTU}, nil
}

// dummy is an IPv4 address that nobody ever has (RFC 7600), and so one that no
// host routes but by default.
var dummy = net.IPv4(192, 0, 0, 8)

// defaultLink returns the index of the link that the preferred default route
// takes, zero without one. It asks the kernel first, which has a route for each
// worker as well; its answer counts if no rule of policy routing made it.
func defaultLink() (int, error) {
	used, err := netlink.RouteGetWithOptions(dummy, &netlink.RouteGetOptions{FIBMatch: true})
	if err == nil && len(used) == 1 && isDefault(used[0]) && used[0].Table == unix.RT_TABLE_MAIN {
		return firstLink(used[0]), nil
	}
	routes, err := listRoutes()
	if err != nil {
		return 0, err
	}
	routes = slices.DeleteFunc(routes, func(r netlink.Route) bool { return !isDefault(r) })
	if len(routes) == 0 {
		return 0, nil
	}
	return firstLink(slices.MinFunc(routes, func(a, b netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })), nil
}

func firstLink(route netlink.Route) (index int) {
	if len(route.MultiPath) > 0 {
		return route.MultiPath[0].LinkIndex
	}
	return route.LinkIndex
}
