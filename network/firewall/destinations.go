package firewall

import (
	"net/netip"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// family names the set of a list for one network protocol.
type family struct {
	name string
	kind Kind
}

// The sets of a policy's lists, for IPv4 and IPv6 in this order.
var (
	allowSets = [2]family{{"allow", Networks}, {"allow6", Networks6}}
	denySets  = [2]family{{"deny", Networks}, {"deny6", Networks6}}
	learnSets = [2]family{{"learnt", TimedAddresses}, {"learnt6", TimedAddresses6}}
)

// spoken returns which of a list's sets there is use for.
func spoken(ipv6 bool, sets [2]family) []family {
	if ipv6 {
		return sets[:]
	}
	return sets[:1]
}

// destinationSets are all sets that throughGateway looks into.
func destinationSets(p Policy) []Set {
	sets := networkSets(p, p.Allow, allowSets)
	sets = append(sets, networkSets(p, p.Denied(), denySets)...)
	if len(p.Domains) > 0 {
		sets = append(sets, learntSets(p)...)
	}
	return sets
}

func learntSets(p Policy) []Set {
	var sets []Set
	for _, f := range spoken(p.IPv6.On, learnSets) {
		sets = append(sets, Set{Name: f.name, Kind: f.kind})
	}
	return sets
}

// networkSets hold the destinations that are networks as a whole. They are what
// grows with a list: one lookup, however long it is.
func networkSets(p Policy, list []network.Destination, of [2]family) []Set {
	var sets []Set
	for _, f := range spoken(p.IPv6.On, of) {
		var prefixes []netip.Prefix
		for _, d := range list {
			if d.Ports == (network.Ports{}) && d.Prefix.IsValid() && d.Prefix.Addr().Is6() == (f.kind == Networks6) {
				prefixes = append(prefixes, d.Prefix)
			}
		}
		if len(prefixes) > 0 {
			sets = append(sets, Set{Name: f.name, Kind: f.kind, Prefixes: prefixes})
		}
	}
	return sets
}

// listed are the rules of a list: one for each destination with ports, which
// may overlap as no set allows, and one for all networks.
func listed(p Policy, list []network.Destination, of [2]family, do Action) []Rule {
	var rules []Rule
	for _, d := range list {
		if d.Ports == (network.Ports{}) {
			continue
		}
		if d.Prefix.IsValid() && d.Prefix.Addr().Is6() && !p.IPv6.On {
			continue
		}
		rules = append(rules, toPorts(d).do(do))
	}
	for _, set := range networkSets(p, list, of) {
		rules = append(rules, fromGuest(DestinationIn{set.Name}).do(do))
	}
	return rules
}

func toPorts(d network.Destination) Rule {
	rule := fromGuest()
	if d.Prefix.IsValid() {
		rule = rule.and(Destination{d.Prefix})
	}
	return rule.and(Protocol{d.Ports.Protocol}, DestinationPorts{d.Ports.First, d.Ports.Last})
}
