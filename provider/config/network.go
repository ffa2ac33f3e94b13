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
)

func (r rawNetwork) parse(m *Errors, to *Network) {
	set(m, r.subnet, &to.Subnet, parseSubnet)
	set(m, r.egress, &to.Egress, parseInterface)
	setDestinations(m, r.allow, &to.Allow)
	setDestinations(m, r.deny, &to.Deny)
	setEach(m, r.dns, &to.DNS, parseResolver)
	if len(to.DNS) > 1 {
		m.add(r.dns.path, "has %d resolvers, and workers ask only one: write one resolver", len(to.DNS))
	}
}

// setDestinations reads a list whose entries may stand for several.
func setDestinations(m *Errors, g given[[]string], place *[]network.Destination) {
	if !g.set {
		return
	}
	var lists [][]network.Destination
	setEach(m, g, &lists, network.ParseDestinations)
	*place = slices.Concat([]network.Destination{}, slices.Concat(lists...))
}

func parseSubnet(text string) (netip.Prefix, error) {
	subnet, err := parsePrefix(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	if (Network{Subnet: subnet}).Capacity() < minWorkers {
		return netip.Prefix{}, fmt.Errorf("the subnet %s is too small, as it takes three addresses beside the workers': "+
			"write a prefix of /29 or shorter", subnet)
	}
	if subnet.Overlaps(network.Guest) {
		return netip.Prefix{}, fmt.Errorf("%s overlaps %s, which every worker has inside: choose another subnet",
			subnet, network.Guest.Masked())
	}
	return subnet, nil
}

// parsePrefix wants the network's own address, because 10.1.2.3/8 is more
// often a slip than a way of writing 10.0.0.0/8.
func parsePrefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is no network in CIDR notation: write for instance \"10.210.0.0/16\"", text)
	case !prefix.Addr().Is4():
		return netip.Prefix{}, fmt.Errorf("%q is not IPv4, the only protocol that workers speak: "+
			"write for instance \"10.210.0.0/16\"", text)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits set after its prefix: write %q", text, prefix.Masked())
	}
	return prefix, nil
}

func parseResolver(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(text)
	if err != nil || !address.Is4() {
		return netip.Addr{}, fmt.Errorf("%q is no IPv4 address: write for instance \"9.9.9.9\"", text)
	}
	return address, nil
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
