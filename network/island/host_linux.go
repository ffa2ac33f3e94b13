package island

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// Open puts the pool's rules on the host in place. It refuses a subnet that
// the host already uses for something else.
func (i *Island) Open(context.Context) error {
	if err := i.checkSubnet(); err != nil {
		return fmt.Errorf("network.subnet: %w", err)
	}
	out, err := i.egress()
	if err != nil {
		return err
	}
	answering, err := i.answering(out)
	if err != nil {
		return err
	}
	if answering.nobody() {
		i.log.Warn("the host names no resolver: set network.dns")
	}
	if err := shareNamespaces(); err != nil {
		return err
	}
	err = firewall.Apply(firewall.Host(firewall.HostPolicy{
		Scope: i.scope, Subnet: i.options.Subnet, Egress: i.options.Egress, Resolver: answering.redirect,
		Subnet6: subnet6(i.options.IPv6), Routed: i.options.IPv6.Prefix.IsValid(), LogGroup: i.hostLogGroup(),
	}))
	if err != nil {
		return err
	}
	return i.logDeniedByHost()
}

// Close removes the pool's rules. When no pool of the host has a lease any
// more, the interfaces that forwarded nothing before do so no longer.
func (i *Island) Close(context.Context) error {
	return errors.Join(i.attendants.dismiss(hostItself), firewall.Remove(firewall.HostTable(i.scope)), restoreForwarding())
}

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
