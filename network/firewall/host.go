package firewall

import (
	"net/netip"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// HostPolicy is what the host's rules depend on.
type HostPolicy struct {
	// Scope is the pool's part of its links' names.
	Scope string
	// Subnet holds the addresses of the pool's workers.
	Subnet netip.Prefix
	// Subnet6 holds their IPv6 addresses; the zero Prefix means that they have
	// none. They are masqueraded unless Routed says that the world knows them.
	Subnet6 netip.Prefix
	Routed  bool
	// Egress is the only interface that workers may leave by; empty for any.
	Egress string
	// Resolver is reachable when it is an address of the host; the zero Addr
	// for none.
	Resolver netip.Addr
	// LogGroup is where denied packets are logged to; zero for nowhere.
	LogGroup uint16
}

// DeniedLinks is the set of a host's table that counts what each worker's link
// was denied.
const DeniedLinks = "denied-links"

// HostTable names the host's table of the pool with this scope.
func HostTable(scope string) string { return "mayfly-" + scope }

// Host returns the rules on the host for the workers of one pool. Their number
// does not depend on how many workers there are, and pools have a table each,
// so that none ever touches another's.
func Host(p HostPolicy) Table {
	return Table{
		Name: HostTable(p.Scope),
		Sets: []Set{{Name: DeniedLinks, Kind: CountedLinks}},
		Chains: []Chain{
			{Name: deniedChain, Rules: append([]Rule{when().do(CountLink{DeniedLinks})}, denied(p.LogGroup != 0, p.LogGroup)...)},
			{Name: "input", Hook: Input, Rules: toHost(p)},
			{Name: "forward", Hook: Forward, Rules: throughHost(p)},
			{Name: "postrouting", Hook: SourceNAT, Rules: outOfHost(p)},
		},
	}
}

func (p HostPolicy) workers() string { return LinkPrefix + p.Scope + "*" }

// fromWorker is how every rule about what a worker sends begins.
func (p HostPolicy) fromWorker(match ...Match) Rule { return when(In{Name: p.workers()}).and(match...) }

// toHost lets workers answer the host, ask its resolver, and nothing else.
func toHost(p HostPolicy) []Rule {
	rules := []Rule{p.fromWorker(Established{}).do(Accept{})}
	if p.Resolver.IsValid() {
		address := Destination{netip.PrefixFrom(p.Resolver, p.Resolver.BitLen())}
		for _, protocol := range []byte{network.TCP, network.UDP} {
			rules = append(rules, p.fromWorker(address, Protocol{protocol}, DestinationPorts{network.DNSPort, network.DNSPort}).do(Accept{}))
		}
	}
	return append(rules, p.fromWorker().do(Deny{deniedChain}))
}

// throughHost keeps workers apart from each other and from other people's
// connections. Connections that the host opens do not pass here.
func throughHost(p HostPolicy) []Rule {
	deny := Deny{deniedChain}
	rules := []Rule{
		p.fromWorker(Out{Name: LinkPrefix + "*"}).do(deny),
		p.fromWorker(Source{Prefix: p.Subnet, Not: true}).do(deny),
	}
	rules = append(rules, published(p)...)
	if p.Subnet6.IsValid() {
		rules = append(rules, p.fromWorker(Source{Prefix: p.Subnet6, Not: true}).do(deny))
	} else {
		rules = append(rules, p.fromWorker(Family{IPv6: true}).do(deny))
	}
	rules = append(rules, when(Out{Name: p.workers()}, Established{Not: true}).do(Drop{}))
	if p.Egress != "" {
		rules = append(rules, p.fromWorker(Out{Name: p.Egress, Not: true}).do(deny))
	}
	return rules
}

// published denies what others publish on the host's addresses and redirect, such
// as ports of containers: it is the host's as the rest is. A resolver may be so
// published.
func published(p HostPolicy) []Rule {
	var rules []Rule
	if p.Resolver.IsValid() {
		for _, protocol := range []byte{network.TCP, network.UDP} {
			rules = append(rules, p.fromWorker(Redirected{From: p.Resolver}, Protocol{protocol},
				DestinationPorts{network.DNSPort, network.DNSPort}).do(Accept{}))
		}
	}
	return append(rules, p.fromWorker(Redirected{}).do(Deny{deniedChain}))
}

func outOfHost(p HostPolicy) []Rule {
	out := when(Out{Name: LinkPrefix + "*", Not: true})
	rules := []Rule{out.and(Source{Prefix: p.Subnet}).do(Masquerade{})}
	if p.Subnet6.IsValid() && !p.Routed {
		rules = append(rules, out.and(Source{Prefix: p.Subnet6}).do(Masquerade{}))
	}
	return rules
}
