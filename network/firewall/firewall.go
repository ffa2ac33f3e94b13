// Package firewall holds the rules around workers: Host and Namespace say as
// plain data what the kernel shall do, Apply and Add put such a table in place,
// Remove takes it away again, Learn opens addresses in it, and Denied reads what
// it counted. Every table is wholly ours, so that nothing of
// anybody else's is ever touched. Which interfaces and namespaces exist is not
// known here.
package firewall

import "net/netip"

// LinkPrefix begins the name of every host link of every pool. A pool's scope
// follows it.
const LinkPrefix = "mf"

// Table is one nftables table of the inet family.
type Table struct {
	Name   string
	Sets   []Set
	Chains []Chain
}

// Set is a named set.
type Set struct {
	Name string
	Kind Kind
	// Prefixes are all that a set of networks ever holds. The other kinds begin
	// empty.
	Prefixes []netip.Prefix
}

// Kind is what a set holds.
type Kind int

// The kinds of sets. Timed addresses leave the set by themselves; links are the
// names of interfaces, with a counter each.
const (
	Networks Kind = iota
	Networks6
	TimedAddresses
	TimedAddresses6
	CountedLinks
)

// Chain is a list of rules. What no rule ends is accepted, for other tables
// have their say about it too.
type Chain struct {
	Name  string
	Hook  Hook
	Rules []Rule
}

// Hook is where, and in which order, the kernel calls a chain.
type Hook int

// The hooks that our chains use. The kernel never calls a chain at Nowhere,
// rules do. Raw sees packets before connection tracking, and Mangle those that
// are about to be forwarded before Forward does.
const (
	Nowhere Hook = iota
	Raw
	DestinationNAT
	Input
	Mangle
	Forward
	SourceNAT
)

// Rule applies its action to packets that match everything listed.
type Rule struct {
	Match []Match
	Do    Action
}

// when reads as a sentence where rules are written down.
func when(match ...Match) Rule { return Rule{Match: match} }

func (r Rule) do(a Action) Rule {
	r.Do = a
	return r
}

// and returns the rule with another condition.
func (r Rule) and(match ...Match) Rule {
	r.Match = append(append([]Match(nil), r.Match...), match...)
	return r
}
