package firewall

import "net/netip"

// HostPolicy is what the host's rules depend on.
type HostPolicy struct {
	// Scope is the pool's part of its links' names.
	Scope string
	// Subnet holds the addresses of the pool's workers.
	Subnet netip.Prefix
	// Egress is the only interface that workers may leave by; empty for any.
	Egress string
	// Resolver is reachable when it is an address of the host; the zero Addr
	// for none.
	Resolver netip.Addr
}

// HostTable names the host's table of the pool with this scope.
func HostTable(scope string) string { return "mayfly-" + scope }

// Host returns the rules on the host for the workers of one pool. Their number
// does not depend on how many workers there are, and pools have a table each,
// so that none ever touches another's.
func Host(p HostPolicy) Table {
	return Table{
		Name: HostTable(p.Scope),
		Chains: []Chain{
			{Name: "input", Hook: Input, Rules: toHost(p)},
			{Name: "forward", Hook: Forward, Rules: throughHost(p)},
			{Name: "postrouting", Hook: SourceNAT, Rules: outOfHost(p)},
		},
	}
}

// toHost lets workers answer the host, ask its resolver, and nothing else.
func toHost(p HostPolicy) []Rule {
	workers := LinkPrefix + p.Scope + "*"
	rules := []Rule{when(In{Name: workers}, Established{}).do(Accept{})}
	if p.Resolver.IsValid() {
		for _, protocol := range []byte{tcp, udp} {
			rules = append(rules, when(In{Name: workers}, Destination{p.Resolver},
				Protocol{protocol}, DestinationPort{dnsPort}).do(Accept{}))
		}
	}
	return append(rules, when(In{Name: workers}).do(Drop{}))
}

// throughHost keeps workers apart from each other and from other people's
// connections. Connections that the host opens do not pass here.
func throughHost(p HostPolicy) []Rule {
	workers := LinkPrefix + p.Scope + "*"
	rules := []Rule{
		when(In{Name: workers}, Out{Name: LinkPrefix + "*"}).do(Drop{}),
		when(In{Name: workers}, Family{IPv6: true}).do(Drop{}),
		when(In{Name: workers}, Source{Prefix: p.Subnet, Not: true}).do(Drop{}),
		when(Out{Name: workers}, Established{Not: true}).do(Drop{}),
	}
	if p.Egress == "" {
		return rules
	}
	return append(rules, when(In{Name: workers}, Out{Name: p.Egress, Not: true}).do(Drop{}))
}

func outOfHost(p HostPolicy) []Rule {
	return []Rule{
		when(Out{Name: LinkPrefix + "*", Not: true}, Source{Prefix: p.Subnet}).do(Masquerade{}),
	}
}
