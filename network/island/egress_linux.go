package island

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// exit is the interface that workers leave the host by; without a name there
// is none.
type exit struct {
	name string
	mtu  int
	// name6 is the same for IPv6; empty without it.
	name6 string
}

// ways are the links that answers to workers come in by, for each protocol.
type ways struct{ ipv4, ipv6 []string }

// ways leads out by the exit, and to what is allowed beside the internet, such
// as a LAN, by whatever link the host has for it.
func (i *Island) ways(out exit) (ways, error) {
	var w ways
	if out.name != "" {
		w.ipv4 = append(w.ipv4, out.name)
	}
	if out.name6 != "" {
		w.ipv6 = append(w.ipv6, out.name6)
	}
	if i.options.Egress != "" {
		return w, nil
	}
	for _, d := range i.options.Allow {
		link, err := linkTo(d.Prefix)
		switch {
		case err != nil:
			return ways{}, err
		case link == "":
		case !d.Prefix.Addr().Is6():
			w.ipv4 = append(w.ipv4, link)
		case i.options.IPv6.On:
			w.ipv6 = append(w.ipv6, link)
		}
	}
	return ways{ipv4: distinct(w.ipv4), ipv6: distinct(w.ipv6)}, nil
}

func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// linkTo returns the link by which the host reaches a network, and none when it
// does not, or when the network is everything or on the host itself.
func linkTo(to netip.Prefix) (string, error) {
	if !to.IsValid() || to.Bits() == 0 {
		return "", nil
	}
	routes, err := netlink.RouteGet(to.Addr().AsSlice())
	if err != nil || len(routes) == 0 {
		return "", nil // no route to it, which may come later
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", fmt.Errorf("looking at the link to %s: %w", to, err)
	}
	if link.Attrs().Flags&net.FlagLoopback != 0 {
		return "", nil
	}
	return link.Attrs().Name, nil
}

// egress returns the configured interface, else that of the default route. It
// is asked for every lease: a laptop changes networks.
func (i *Island) egress() (exit, error) {
	if i.options.Egress != "" {
		return i.configuredEgress()
	}
	link, err := defaultLink(netlink.FAMILY_V4)
	if err != nil {
		return exit{}, err
	}
	out := exit{mtu: network.UsualMTU} // a host that has no way out has none to copy
	if link != nil {
		out.name, out.mtu = link.Attrs().Name, link.Attrs().MTU
	}
	if !i.options.IPv6.On {
		return out, nil
	}
	link6, err := defaultLink(netlink.FAMILY_V6)
	if err != nil || link6 == nil {
		return out, err
	}
	out.name6 = link6.Attrs().Name
	out.mtu = min(out.mtu, link6.Attrs().MTU)
	return out, nil
}

func (i *Island) configuredEgress() (exit, error) {
	link, err := netlink.LinkByName(i.options.Egress)
	if err != nil {
		return exit{}, fmt.Errorf("network.egress %q: %w", i.options.Egress, err)
	}
	out := exit{name: link.Attrs().Name, mtu: link.Attrs().MTU}
	if i.options.IPv6.On {
		out.name6 = out.name
	}
	return out, nil
}

// defaultLink returns the link that the preferred default route takes, nil
// without one.
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

// listDefaultRoutes returns the default routes of the main table.
func listDefaultRoutes(family int) ([]netlink.Route, error) {
	routes, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, family) })
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	return slices.DeleteFunc(routes, func(r netlink.Route) bool { return !isDefault(r) }), nil
}
