//go:build linux

package hostfirewall

// Ruleset is the tables of others that packets of workers may meet.
type Ruleset []Table

// Table is one nftables table.
type Table struct {
	// Family is "ip", "ip6" or "inet".
	Family string
	Name   string
	// Chains are those that a packet can reach, by name.
	Chains map[string]Chain
}

// Chain is a list of rules. The kernel calls it at its hook, or other chains
// jump to it.
type Chain struct {
	Hook Hook
	// Drops is the chain's policy: what becomes of packets that no rule ends.
	Drops bool
	Rules []Rule
}

// Hook is where the kernel calls a chain.
type Hook int

// The hooks that packets of workers meet: none, for a chain that only others
// jump to; on the way to the host itself; and on the way through it.
const (
	NoHook Hook = iota
	Input
	Forward
)

// Rule does something with packets of which every condition holds.
type Rule struct {
	If   []Condition
	Then Verdict
}

// Verdict is what a rule does. Chain is where Jump and Goto lead.
type Verdict struct {
	Kind  Kind
	Chain string
}

// Kind is a kind of verdict.
type Kind int

// The verdicts. Rejecting is dropping too; a rule that only counts or logs
// continues.
const (
	Continue Kind = iota
	Accept
	Drop
	Jump
	Goto
	Return
)

// Condition holds when one of the spans holds the packet's value, or with Not
// when none does.
type Condition struct {
	Of Field
	// Mask is applied to the value first; nil for none.
	Mask  []byte
	Not   bool
	Spans []Span
}

// Span is the values from First to Last. It compares as many leading bytes as
// it has, so that a short one stands for all names or networks that begin so.
type Span struct{ First, Last []byte }

// Field is a part of a packet, or something that the kernel knows about it.
type Field int

// The fields, with what nftables has in its registers for them. A condition on
// an Unknown one is not understood here.
const (
	Unknown      Field = iota
	IIFName            // iifname: 16 bytes, padded with zeros
	OIFName            // oifname: likewise
	CTState            // ct state: 4 bytes in the host's order
	NFProto            // meta nfproto: 1 byte, NFPROTO_IPV4 or NFPROTO_IPV6
	SAddr              // ip saddr, ip6 saddr: 4 or 16 bytes
	DAddr              // ip daddr, ip6 daddr: likewise
	L4Proto            // meta l4proto: 1 byte
	DPort              // tcp dport, udp dport: 2 bytes in network order
	FibDAddrType       // fib daddr type: 4 bytes in the host's order, RTN_LOCAL and so on
)
