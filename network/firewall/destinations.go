//go:build linux

package firewall

import (
	"net/netip"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// familySet is the set of a list for one network protocol.
type familySet struct {
	name string
	kind kind
}

// The sets of a policy's lists, for IPv4 and IPv6 in this order.
var (
	allowSets = [2]familySet{{"allow", intervals}, {"allow6", intervals6}}
	denySets  = [2]familySet{{"deny", intervals}, {"deny6", intervals6}}
	learnSets = [2]familySet{{"learnt", timeouts}, {"learnt6", timeouts6}}
)

// usedSets returns which of a list's sets a policy has use for.
func usedSets(ipv6 bool, sets [2]familySet) []familySet {
	if ipv6 {
		return sets[:]
	}
	return sets[:1]
}

// destinationSets are all sets that the rules of gatewayForward look into.
func destinationSets(p Policy) []set {
	sets := append(networkSets(p, p.Allow, allowSets), networkSets(p, p.Denied(), denySets)...)
	if len(p.Domains) > 0 {
		sets = append(sets, learntSets(p)...)
	}
	return sets
}

func learntSets(p Policy) []set {
	var sets []set
	for _, f := range usedSets(p.IPv6.On, learnSets) {
		sets = append(sets, set{name: f.name, kind: f.kind})
	}
	return sets
}

// networkSets hold the destinations that are networks as a whole. They are what
// grows with a list: one lookup, however long it is.
func networkSets(p Policy, list []network.Destination, of [2]familySet) []set {
	var sets []set
	for _, f := range usedSets(p.IPv6.On, of) {
		var prefixes []netip.Prefix
		for _, d := range list {
			if d.Ports == (network.Ports{}) && d.Prefix.IsValid() && d.Prefix.Addr().Is6() == (f.kind == intervals6) {
				prefixes = append(prefixes, d.Prefix)
			}
		}
		if len(prefixes) > 0 {
			sets = append(sets, set{name: f.name, kind: f.kind, prefixes: prefixes})
		}
	}
	return sets
}

// listed are the rules of a list: one for each destination with ports, which
// may overlap as no set allows, and one for all networks.
func listed(p Policy, list []network.Destination, of [2]familySet, do action) []rule {
	var rules []rule
	for _, d := range list {
		if d.Ports == (network.Ports{}) || d.Prefix.IsValid() && d.Prefix.Addr().Is6() && !p.IPv6.On {
			continue
		}
		to := fromGuest()
		if d.Prefix.IsValid() {
			to = to.and(daddr{d.Prefix})
		}
		rules = append(rules, to.and(l4proto{d.Ports.Protocol}, dport{d.Ports.First, d.Ports.Last}).do(do))
	}
	for _, set := range networkSets(p, list, of) {
		rules = append(rules, fromGuest(daddrIn{set.name}).do(do))
	}
	return rules
}
