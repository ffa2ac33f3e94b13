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

func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
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
