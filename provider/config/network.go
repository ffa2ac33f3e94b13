package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

const (
	// minWorkers is what a subnet must hold: with one address, a worker
	// could never be made while its predecessor goes.
	minWorkers = 2
	// maxInterfaceName is Linux's IFNAMSIZ without the zero at its end.
	maxInterfaceName = 15
	// maxResolvers is what a resolv.conf has room for.
	maxResolvers = 3
	// maxConnections is more than a host tracks for all of its workers.
	maxConnections = 1_000_000
)

func (r rawNetwork) parse(m *Errors, to *Network) {
	set(m, r.subnet, &to.Subnet, parseSubnet)
	set(m, r.egress, &to.Egress, parseInterface)
	setDestinations(m, r.allow, &to.Allow)
	setDestinations(m, r.deny, &to.Deny)
	setEach(m, r.domains, &to.Domains, network.ParseDomain)
	setEach(m, r.dns, &to.DNS, parseResolver)
	set(m, r.ipv6, &to.IPv6, network.ParseIPv6)
	set(m, r.bandwidth, &to.Bandwidth, parseRate)
	set(m, r.connections, &to.Connections, parseConnections)
	set(m, r.connectionRate, &to.ConnectionRate, parseConnections)
	set(m, r.logDenied, &to.LogDenied, asGiven)
	r.checkPolicy(m, *to)
	r.checkResolvers(m, *to)
}

// checkPolicy refuses lists that say two things, or something that nobody means.
func (r rawNetwork) checkPolicy(m *Errors, n Network) {
	if r.domains.set && len(n.Domains) == 0 {
		m.add(r.domains.path, "empty, which might mean every name or none: write names, or remove it for every name")
	}
	denied := network.FormatDestinations(n.Deny)
	for _, text := range network.FormatDestinations(n.Allow) {
		if slices.Contains(denied, text) {
			m.add(r.allow.path, "%q is in deny too: remove it from one of the two", text)
		}
	}
	if n.IPv6.On || m.has(r.ipv6.path) {
		return
	}
	for i, text := range r.allow.value {
		// A word stands for networks of both kinds.
		if list, err := network.ParseDestinations(text); err == nil && len(list) == 1 && list[0].Prefix.Addr().Is6() {
			m.add(at(r.allow.path, i), "%q is not reached while IPv6 is off: set network.ipv6, or remove it", text)
		}
	}
}

// checkResolvers takes IPv6 addresses also while IPv6 is off for workers: it is
// the host that asks them.
func (r rawNetwork) checkResolvers(m *Errors, n Network) {
	if len(n.DNS) > maxResolvers {
		m.add(r.dns.path, "has %d resolvers, and %d are the most that are asked: remove some", len(n.DNS), maxResolvers)
	}
	seen := make(map[netip.Addr]bool)
	for i, resolver := range n.DNS {
		if seen[resolver] && resolver.IsValid() {
			m.add(at(r.dns.path, i), "%s is there twice: remove one of the two", resolver)
		}
		seen[resolver] = true
	}
}

// setDestinations reads a list whose entries may stand for several.
func setDestinations(m *Errors, g given[[]string], place *[]network.Destination) {
	if !g.set {
		return
	}
	var lists [][]network.Destination
	setEach(m, g, &lists, network.ParseDestinations)
	*place = append([]network.Destination{}, slices.Concat(lists...)...)
}

func parseSubnet(text string) (netip.Prefix, error) {
	subnet, err := parsePrefix(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	if (Network{Subnet: subnet}).Addresses() < minWorkers {
		return netip.Prefix{}, fmt.Errorf("the subnet %s is too small, as it takes three addresses beside the workers': "+
			"write a prefix of /29 or shorter", subnet)
	}
	if subnet.Overlaps(network.Guest) {
		return netip.Prefix{}, fmt.Errorf("%s overlaps %s, which every worker has inside: choose another subnet",
			subnet, network.Guest.Masked())
	}
	return subnet, nil
}

// parsePrefix is for what has IPv4 alone.
func parsePrefix(text string) (netip.Prefix, error) {
	prefix, err := network.ParsePrefix(text)
	if err == nil && !prefix.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("%q is not IPv4: write for instance \"10.210.0.0/16\"", text)
	}
	return prefix, err
}

func parseResolver(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(text)
	switch address = address.Unmap(); {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is no address: write for instance \"9.9.9.9\" or \"2620:fe::fe\"", text)
	case address.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q has a zone, which is the host's own: write an address without one", text)
	case address.IsUnspecified() || address.IsMulticast():
		return netip.Addr{}, fmt.Errorf("%q answers nobody: write for instance \"9.9.9.9\"", text)
	case network.Guest.Contains(address) || network.Guest6.Contains(address):
		return netip.Addr{}, fmt.Errorf("%q is what workers ask already: write the address of a resolver outside them", text)
	}
	return address, nil
}

func parseConnections(n int64) (int, error) {
	if n < 0 {
		return 0, fmt.Errorf("%d is negative: write a number, or 0 for no limit", n)
	}
	if n > maxConnections {
		return 0, fmt.Errorf("%d is more than a host bears: write a number up to %d, or 0 for no limit", n, maxConnections)
	}
	return int(n), nil
}

// parseInterface knows what the kernel takes as a name. Whether there is such
// an interface is for the network to find out, as it may come later.
func parseInterface(name string) (string, error) {
	if name == "" {
		return "", errors.New(`empty: write for instance "eth0", or remove it for the default route's interface`)
	}
	if len(name) > maxInterfaceName || name == "." || name == ".." ||
		strings.ContainsAny(name, "/:") || strings.ContainsFunc(name, isSpaceOrControl) {
		return "", fmt.Errorf("%q is no name of an interface, at most %d characters without / : and spaces: "+
			"write for instance \"eth0\"", name, maxInterfaceName)
	}
	return name, nil
}

func isSpaceOrControl(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
