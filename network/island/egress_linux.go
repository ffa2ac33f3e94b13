package island

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
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

// defaultLink returns the index of the link that the preferred default route
// takes, zero without one.
func defaultLink() (int, error) {
	routes, err := listRoutes()
	if err != nil {
		return 0, err
	}
	routes = slices.DeleteFunc(routes, func(r netlink.Route) bool { return !isDefault(r) })
	if len(routes) == 0 {
		return 0, nil
	}
	best := slices.MinFunc(routes, func(a, b netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })
	if len(best.MultiPath) > 0 {
		return best.MultiPath[0].LinkIndex, nil
	}
	return best.LinkIndex, nil
}
