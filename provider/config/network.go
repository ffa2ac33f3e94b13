package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
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

// Network says where workers are and what they may reach.
type Network struct {
	// Subnet holds the workers' addresses on this host. It is IPv4.
	Subnet netip.Prefix
	network.Policy
}

func networkSection(c *Config) section {
	n := &c.Network
	return section{name: "network", together: n.check,
		about: "For the backends on Linux; Tart and vm-bhyve bring networks of their own.",
		keys: []key{
			{name: "subnet", value: text(&n.Subnet, parseSubnet), fallback: `"10.210.0.0/16"`, kind: "CIDR",
				about: "the workers' addresses on this host, a /29 or larger. Three addresses of it go to " +
					"no machine, and one is left to the machine that an image or a template is made of, with " +
					"`fork.spares` another to a spare that is being made. Pools may share one",
				refused: "IPv6; bits set after the prefix; smaller than /29; overlapping 198.18.0.0/30, which " +
					"guests have inside. When the pool is opened: overlapping a route of the host"},
			{name: "egress", value: text(&n.Egress, parseInterface), otherwise: "any, as the host's routes say",
				example: `"eth0"`,
				about:   "the only interface that workers may leave the host by. It must exist when the pool is opened",
				refused: "what is not a valid name of an interface"},
			{name: "allow", value: destinations(&n.Allow), kind: "list of destinations", example: `["192.168.1.10/32"]`,
				about: "reachable although `deny` holds it. It does not open the host itself, nor other workers",
				refused: "what is not a valid destination; the same one in `deny`; a network of IPv6 while `ipv6` is " +
					"off"},
			{name: "deny", value: destinations(&n.Deny), kind: "list of destinations",
				otherwise: "`[\"private\", \"smtp\"]`", example: `["private", "smtp"]`,
				about: `what workers cannot reach: networks ("10.1.2.0/24", "fd00::/8"), ports ("tcp/443",
					"udp/5000-5999"), both ("10.1.2.3/32 tcp/443"), and the words "private" and "smtp". A list
					replaces the default; [] denies nothing`,
				refused: "what is not a valid destination"},
			{name: "domains", value: list(&n.Domains, network.ParseDomain), kind: "list of names",
				otherwise: "every name, and every destination that is not denied",
				example:   `["gitlab.example.com", "*.debian.org"]`,
				about: "the only names that workers may look up. Then they reach `allow`, and the addresses that " +
					"these names have and `deny` has not, and nothing else",
				refused: "an empty list; what is not a valid name"},
			{name: "dns", value: list(&n.DNS, parseResolver), kind: "list of up to three addresses",
				otherwise: "the host's resolvers, also one on a loopback address", example: `["9.9.9.9"]`,
				about: "who answers the workers' questions, IPv4 or IPv6, reachable although denied. The next is " +
					"asked when one does not answer. `[]` means the same as nothing",
				refused: "names, ports, zones; one twice; more than three; 0.0.0.0, multicast, and what is inside " +
					"every worker"},
			{name: "search", value: list(&n.Search, network.ParseSearch), kind: "list of up to 16 domains",
				otherwise: "the host's search domains", example: `["corp.example.com"]`,
				about: "the domains in which workers look names up that have no dot. With `domains` the whole names " +
					"must be in that list",
				refused: "what is not a valid name; one twice; more than 16"},
			{name: "ipv6", value: as(ipv6Form, &n.IPv6, network.ParseIPv6, asText[network.IPv6]),
				fallback: `"off"`, example: `"nat"`,
				about: `"off", "nat", or a prefix that is routed to this host. "off": none at all around a worker.
					"nat": out by an address of this host. A prefix such as "2001:db8:1:2::/64": each worker has an
					address in it. true is "nat", false is "off"`,
				refused: "bits set after the prefix; longer than /96; outside 2000::/3 and fc00::/7; overlapping " +
					"fd6d:6179:666c:7900::/64, which guests have inside"},
			{name: "bandwidth", value: bandwidth(&n.Bandwidth),
				otherwise: "no limit", example: `"100mbit"`,
				about:   "bits per second of each worker, in each direction",
				refused: `below "1mbit", above "100gbit"; sizes such as "100MiB"`},
			{name: "connections", value: whole(&n.Connections, checkConnections), fallback: `4096`,
				about: "connections out that a worker has at once; 0 means no limit", refused: "negative; above 1000000"},
			{name: "connection_rate", value: whole(&n.ConnectionRate, checkConnections), fallback: `500`,
				about:   "connections out that a worker opens in a second; 0 means no limit",
				refused: "negative; above 1000000"},
			{name: "log_denied", value: boolean(&n.LogDenied), fallback: `false`, example: `true`,
				about: "log the packets that a worker is denied, with its id"},
		},
	}
}

// ipv6Form also takes true and false, for the two words that they say.
var ipv6Form = form[string]{
	aString.kind, aString.want, schema{"type": []string{"string", "boolean"}},
	func(value any) (string, bool) {
		if on, isFlag := value.(bool); isFlag {
			return network.IPv6{On: on}.String(), true
		}
		return aString.from(value)
	},
}

// destinations is a list whose words stand for several, and are written again.
func destinations(to *[]network.Destination) value {
	return lists(to, network.ParseDestinations, network.FormatDestinations)
}

// check looks at the lists, which depend on each other and on IPv6.
func (n *Network) check(r *reading) {
	n.checkDestinations(r)
	n.checkResolvers(r)
	n.checkSearch(r)
}

// checkDestinations refuses lists that say two things, or something that nobody
// means.
func (n *Network) checkDestinations(r *reading) {
	if r.gave("network.domains") && len(n.Domains) == 0 {
		r.refuse("network.domains", "empty, which might mean every name or none: "+
			"write names, or remove it for every name")
	}
	denied := network.FormatDestinations(n.Deny)
	for _, text := range network.FormatDestinations(n.Allow) {
		if slices.Contains(denied, text) {
			r.refuse("network.allow", "%q is in deny too: remove it from one of the two", text)
		}
	}
	if n.IPv6.On || r.wrong("network.ipv6") {
		return
	}
	allowed, _ := r.given["network.allow"].value.([]any)
	for i, element := range allowed {
		// A word stands for networks of both kinds.
		text, _ := element.(string)
		if list, err := network.ParseDestinations(text); err == nil && len(list) == 1 && list[0].Prefix.Addr().Is6() {
			r.add(tomlfile.At(r.path("network.allow"), i), "%q is not reached while IPv6 is off: "+
				"set network.ipv6, or remove it", text)
		}
	}
}

// checkResolvers takes IPv6 addresses also while IPv6 is off for workers: it is
// the host that asks them.
func (n *Network) checkResolvers(r *reading) {
	path := r.path("network.dns")
	if len(n.DNS) > maxResolvers {
		r.add(path, "has %d resolvers, and %d are the most that are asked: remove some", len(n.DNS), maxResolvers)
	}
	for i, resolver := range n.DNS {
		if resolver.IsValid() && slices.Contains(n.DNS[:i], resolver) {
			r.add(tomlfile.At(path, i), "%s is there twice: remove one of the two", resolver)
		}
	}
}

func (n *Network) checkSearch(r *reading) {
	path := r.path("network.search")
	if len(n.Search) > network.MostSearch {
		r.add(path, "has %d domains, and %d are the most that a guest is told: remove some",
			len(n.Search), network.MostSearch)
	}
	for i, domain := range n.Search {
		if domain != "" && slices.Contains(n.Search[:i], domain) {
			r.add(tomlfile.At(path, i), "%q is there twice: remove one of the two", domain)
		}
	}
}

func parseSubnet(text string) (netip.Prefix, error) {
	subnet, err := parsePrefix(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	if (Network{Subnet: subnet}).Addresses() < minWorkers {
		return netip.Prefix{}, fmt.Errorf("the subnet %s is too small, as it takes three addresses beside the "+
			"workers': "+
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
		return netip.Addr{}, fmt.Errorf("%q is not a valid address: write for instance \"9.9.9.9\" or \"2620:fe::fe\"",
			text)
	case address.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q has a zone, which is the host's own: write an address without one", text)
	case address.IsUnspecified() || address.IsMulticast():
		return netip.Addr{}, fmt.Errorf("%q answers nobody: write for instance \"9.9.9.9\"", text)
	case network.Guest.Contains(address) || network.Guest6.Contains(address):
		return netip.Addr{}, fmt.Errorf("%q is what workers ask already: write the address of a resolver outside them",
			text)
	}
	return address, nil
}

func checkConnections(n int64) error {
	if n < 0 {
		return fmt.Errorf("%d is negative: write a number, or 0 for no limit", n)
	}
	if n > maxConnections {
		return fmt.Errorf("%d is more than a host bears: write a number up to %d, or 0 for no limit", n, maxConnections)
	}
	return nil
}

// parseInterface knows what the kernel takes as a name. Whether there is such
// an interface is for the network to find out, as it may come later.
func parseInterface(name string) (string, error) {
	if name == "" {
		return "", errors.New(`empty: write for instance "eth0", or remove it for the default route's interface`)
	}
	if len(name) > maxInterfaceName || name == "." || name == ".." ||
		strings.ContainsAny(name, "/:") || strings.ContainsFunc(name, isSpaceOrControl) {
		return "", fmt.Errorf("%q is not a valid name of an interface, at most %d characters without / : and spaces: "+
			"write for instance \"eth0\"", name, maxInterfaceName)
	}
	return name, nil
}
