package island

import (
	"errors"
	"net/netip"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

// furnish makes, inside the namespace, what does not depend on the worker.
// The rules come before anything that a packet could pass.
func (i *Island) furnish(mtu int, by answering) error {
	if err := errors.Join(i.furnishIPv6(), routing()); err != nil {
		return err
	}
	rules := firewall.Policy{Policy: i.options.Policy, Resolver: by.redirect, Relay: by.relay}
	if err := firewall.Add(firewall.Namespace(rules)); err != nil {
		return err
	}
	loopback := configure("lo")
	loopback.up()
	return errors.Join(loopback.err, i.addTAP(mtu))
}

func (i *Island) furnishIPv6() error {
	if i.options.IPv6.On {
		return routing6()
	}
	return errors.Join(disableIPv6("all"), disableIPv6("default"))
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
	// A guest that asks in others' names would have the kernel note each of them,
	// in a table that all namespaces share.
	if err := setSysctl("1", "ipv4", "conf", network.TAP, "rp_filter"); err != nil {
		return err
	}
	tap := configure(network.TAP)
	tap.mtu(mtu)
	tap.mac(network.GatewayMAC)
	tap.address(netip.PrefixFrom(network.Gateway, network.Guest.Bits()))
	if i.options.IPv6.On {
		tap.address(netip.PrefixFrom(network.Gateway6, network.Guest6.Bits()))
	}
	tap.up()
	tap.neighbour(network.Guest.Addr(), network.GuestMAC)
	if i.options.IPv6.On {
		tap.neighbour(network.Guest6.Addr(), network.GuestMAC)
	}
	if i.options.Bandwidth > 0 {
		tap.bandwidth(i.options.Bandwidth)
	}
	return tap.err
}
