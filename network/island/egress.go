//go:build linux

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

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// exit is the interface that workers leave the host by; without a name there
// is none.
type exit struct {
	name string
	mtu  int
	// name6 is the same for IPv6; empty without it.
	name6 string
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

// unassigned are addresses that no host has and none routes but by default: the
// dummy address of RFC 7600, and one that is to be discarded (RFC 6666).
var unassigned = map[int]net.IP{netlink.FAMILY_V4: net.ParseIP("192.0.0.8"), netlink.FAMILY_V6: net.ParseIP("100::1")}

// defaultRoute returns the preferred one of the main table, nil without one.
// The kernel is asked for it alone first, since the host has routes to every
// worker as well; its answer counts if no rule of policy routing made it.
func defaultRoute(family int) (*netlink.Route, error) {
	used, err := netlink.RouteGetWithOptions(unassigned[family], &netlink.RouteGetOptions{FIBMatch: true})
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
	ipv4, ipv6 := networks(i.options.Allow)
	links, err := linksTo(netlink.FAMILY_V4, ipv4)
	if err != nil {
		return ways{}, err
	}
	w.ipv4 = distinct(append(w.ipv4, links...))
	if !i.options.IPv6.On {
		return w, nil
	}
	if links, err = linksTo(netlink.FAMILY_V6, ipv6); err != nil {
		return ways{}, err
	}
	w.ipv6 = distinct(append(w.ipv6, links...))
	return w, nil
}

func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// networks are those that destinations name, but for everything, which is what
// the exit is for.
func networks(destinations []network.Destination) (ipv4, ipv6 []netip.Prefix) {
	for _, d := range destinations {
		switch p := d.Prefix; {
		case !p.IsValid() || p.Bits() == 0:
		case p.Addr().Is6():
			ipv6 = append(ipv6, p)
		default:
			ipv4 = append(ipv4, p)
		}
	}
	return ipv4, ipv6
}

// linksTo returns the links by which the host reaches networks, or parts of them.
func linksTo(family int, networks []netip.Prefix) ([]string, error) {
	links, err := routedLinks(family, slices.DeleteFunc(slices.Clone(networks), netip.Prefix.IsSingleIP))
	if err != nil {
		return nil, err
	}
	for _, to := range networks {
		link, err := linkTo(to)
		if err != nil {
			return nil, err
		}
		if link != "" {
			links = append(links, link)
		}
	}
	return links, nil
}

// linkTo returns the link by which the host reaches a network's first address,
// and none when it does not, or when that is the host's own.
func linkTo(to netip.Prefix) (string, error) {
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

// routedLinks returns the links by which the host reaches parts of the networks,
// without those of workers. It reads all routes, so it is asked once for
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

// linkNames returns the names of all links by index.
func linkNames() (map[int]string, error) {
	links, err := netlinkdump.LinkList()
	if err != nil {
		return nil, err
	}
	names := make(map[int]string)
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	return names, nil
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
