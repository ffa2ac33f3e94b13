package firewall

import (
	"net/netip"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Uplink is the interface that leads out of a worker's namespace.
const Uplink = "uplink"

// namespaceTable may be the same everywhere: a namespace holds one worker.
const namespaceTable = "mayfly"

const (
	tcp     = 6
	udp     = 17
	dnsPort = 53
)

// Policy is what the rules around one worker depend on.
type Policy struct {
	// Allow is reachable although Deny holds it; all else in Deny is not.
	// IPv6 prefixes have no effect: IPv6 never leaves a worker.
	Allow, Deny []netip.Prefix
	// Resolver answers the DNS questions that the guest asks its gateway; the
	// zero Addr for none.
	Resolver netip.Addr
}

// Private returns the destinations that workers are denied unless something
// else is configured: private, shared, link-local with its metadata services,
// loopback, multicast and reserved addresses.
func Private() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("100.64.0.0/10"),
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("224.0.0.0/4"),
		netip.MustParsePrefix("240.0.0.0/4"),
	}
}

// Namespace returns the rules inside a worker's namespace. They do not depend
// on which worker it is.
func Namespace(p Policy) Table {
	t := Table{Name: namespaceTable}
	for _, set := range []Set{{"allow", p.Allow}, {"deny", p.Deny}} {
		if len(ranges(set.Prefixes)) > 0 {
			t.Sets = append(t.Sets, set)
		}
	}
	t.Chains = []Chain{
		{Name: "spoofed", Hook: Raw, Rules: spoofed()},
		{Name: "prerouting", Hook: DestinationNAT, Rules: redirects(p)},
		{Name: "input", Hook: Input, Rules: []Rule{when(In{Name: network.TAP}).do(Drop{})}},
		{Name: "forward", Hook: Forward, Rules: destinations(t.Sets)},
		{Name: "postrouting", Hook: SourceNAT, Rules: []Rule{when(Out{Name: Uplink}).do(Masquerade{})}},
	}
	return t
}

// spoofed drops whatever the guest sends under a name that is not its own,
// before any of it is tracked.
func spoofed() []Rule {
	guest := netip.PrefixFrom(network.Guest.Addr(), 32)
	return []Rule{
		when(In{Name: network.TAP}, SourceMAC{MAC: network.GuestMAC, Not: true}).do(Drop{}),
		when(In{Name: network.TAP}, Family{IPv6: true}).do(Drop{}),
		when(In{Name: network.TAP}, Source{Prefix: guest, Not: true}).do(Drop{}),
	}
}

// redirects makes the guest answer for the worker's address, and the resolver
// for the gateway's.
func redirects(p Policy) []Rule {
	guest := SendTo{network.Guest.Addr()}
	rules := []Rule{
		when(In{Name: Uplink}, Protocol{tcp}).do(guest),
		when(In{Name: Uplink}, Protocol{udp}).do(guest),
	}
	if !p.Resolver.IsValid() {
		return rules
	}
	for _, protocol := range []byte{tcp, udp} {
		rules = append(rules, when(In{Name: network.TAP}, Destination{network.Gateway},
			Protocol{protocol}, DestinationPort{dnsPort}).do(SendTo{p.Resolver}))
	}
	return rules
}

// destinations says where the guest may go. Redirected connections pass first:
// answers to the host, and questions to a resolver in a denied network.
func destinations(sets []Set) []Rule {
	rules := []Rule{when(In{Name: network.TAP}, Redirected{}).do(Accept{})}
	for _, set := range sets {
		rule := when(In{Name: network.TAP}, DestinationIn{set.Name})
		if set.Name == "allow" {
			rules = append(rules, rule.do(Accept{}))
		} else {
			rules = append(rules, rule.do(Drop{}))
		}
	}
	return rules
}
