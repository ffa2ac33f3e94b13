//go:build linux

package firewall

import (
	"net/netip"

	"github.com/google/nftables"
)

// LinkPrefix begins the name of every host link of every pool. A pool's scope
// follows it.
const LinkPrefix = "mf"

// Table is one nftables table of the inet family.
type Table struct {
	name   string
	sets   []set
	chains []chain
}

// set is a named set.
type set struct {
	name string
	kind kind
	// prefixes are what a set of intervals begins with. The other kinds begin
	// empty.
	prefixes []netip.Prefix
}

// kind is what a set holds.
type kind int

// The kinds of sets. Addresses with a timeout leave the set by themselves; links
// are the names of interfaces, with a counter each.
const (
	intervals kind = iota
	intervals6
	timeouts
	timeouts6
	countedLinks
)

// chain is a list of rules. What no rule ends is accepted: other tables decide
// about it too.
type chain struct {
	name  string
	at    hook
	rules []rule
}

// hook is where, and in which order, the kernel calls a chain. Nothing but rules
// calls a chain at the zero hook.
type hook struct {
	kind     nftables.ChainType
	num      *nftables.ChainHook
	priority *nftables.ChainPriority
}

// The hooks of our chains, as nft names hook and priority. Raw comes before
// connection tracking.
var (
	preroutingRaw     = hook{nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw}
	preroutingDstNAT  = hook{nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest}
	preroutingFilter  = hook{nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityFilter}
	inputFilter       = hook{nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter}
	forwardMangle     = hook{nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityMangle}
	forwardFilter     = hook{nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter}
	postroutingMangle = hook{nftables.ChainTypeFilter, nftables.ChainHookPostrouting, nftables.ChainPriorityMangle}
	postroutingSrcNAT = hook{nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource}
)

// rule applies its action to packets that match everything listed.
type rule struct {
	matches []match
	action  action
}

// when begins a rule, and do ends it, so that it reads as a sentence where it is
// written down.
func when(matches ...match) rule { return rule{matches: matches} }

func (r rule) do(a action) rule {
	r.action = a
	return r
}

// and returns the rule with more conditions.
func (r rule) and(matches ...match) rule {
	r.matches = append(append([]match(nil), r.matches...), matches...)
	return r
}
