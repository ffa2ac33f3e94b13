// Package firewall holds the rules around workers: Host and Namespace say as
// plain data what the kernel shall do, Apply puts such a table in place and
// Remove takes it away again. Every table is wholly ours, so that nothing of
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

// Set is a named set of IPv4 ranges.
type Set struct {
	Name     string
	Prefixes []netip.Prefix
}

// Chain is a base chain: one that the kernel calls at a hook. What no rule
// ends is accepted, for other tables have their say about it too.
type Chain struct {
	Name  string
	Hook  Hook
	Rules []Rule
}

// Hook is where, and in which order, the kernel calls a chain.
type Hook int

// The hooks that our chains use. Raw sees packets before connection tracking.
const (
	Raw Hook = iota
	DestinationNAT
	Input
	Forward
	SourceNAT
)

// Rule applies its action to packets that match everything listed. Packets
// that a rule drops are counted.
type Rule struct {
	Match []Match
	Do    Action
}

// Action is what happens to a packet: one of Accept, Drop, Masquerade and
// SendTo.
type Action interface{ action() }

type (
	// Accept ends the chain.
	Accept struct{}
	// Drop ends the packet.
	Drop struct{}
	// Masquerade gives the connection the address of the interface that it
	// leaves by.
	Masquerade struct{}
	// SendTo gives the connection another destination.
	SendTo struct{ Address netip.Addr }
)

func (Accept) action()     {}
func (Drop) action()       {}
func (Masquerade) action() {}
func (SendTo) action()     {}

// Match is one condition on a packet: one of the types below.
type Match interface{ match() }

type (
	// In compares the interface that the packet came in by. A name that ends
	// in "*" stands for all names that begin so.
	In Name
	// Out compares the interface that the packet leaves by.
	Out Name
	// Name is an interface name, or any other name.
	Name struct {
		Name string
		Not  bool
	}
	// Source compares the packet's IPv4 source. It matches no IPv6 packet.
	Source struct {
		Prefix netip.Prefix
		Not    bool
	}
	// Destination compares the packet's IPv4 destination.
	Destination struct{ Address netip.Addr }
	// DestinationIn looks the packet's IPv4 destination up in a set.
	DestinationIn struct{ Set string }
	// SourceMAC compares the packet's Ethernet source.
	SourceMAC struct {
		MAC string
		Not bool
	}
	// Family compares the packet's network protocol.
	Family struct{ IPv6 bool }
	// Protocol compares the packet's transport protocol.
	Protocol struct{ Number byte }
	// DestinationPort compares the packet's port; a Protocol match precedes it.
	DestinationPort struct{ Port uint16 }
	// Established matches packets of connections already accepted, and what
	// belongs to them, such as ICMP errors.
	Established struct{ Not bool }
	// Redirected matches packets of connections whose destination SendTo
	// changed, in both directions.
	Redirected struct{}
)

func (In) match()              {}
func (Out) match()             {}
func (Source) match()          {}
func (Destination) match()     {}
func (DestinationIn) match()   {}
func (SourceMAC) match()       {}
func (Family) match()          {}
func (Protocol) match()        {}
func (DestinationPort) match() {}
func (Established) match()     {}
func (Redirected) match()      {}

// when reads as a sentence where rules are written down.
func when(match ...Match) Rule { return Rule{Match: match} }

func (r Rule) do(a Action) Rule {
	r.Do = a
	return r
}
