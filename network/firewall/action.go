package firewall

import "net/netip"

// Action is what happens to a packet: one of the types below.
type Action interface{ action() }

type (
	// Accept ends the chain.
	Accept struct{}
	// Drop counts the packet and ends it.
	Drop struct{}
	// Deny counts the packet and sends it to the table's chain of this name,
	// for good.
	Deny struct{ Chain string }
	// Masquerade gives the connection the address of the interface that it
	// leaves by.
	Masquerade struct{}
	// SendTo gives the connection another destination.
	SendTo struct{ Address netip.Addr }
	// ClampMSS has the two ends of a TCP connection agree on segments that fit
	// the way.
	ClampMSS struct{}
	// CountLink counts the packet for the interface that it came in by, in a
	// set of CountedLinks.
	CountLink struct{ Set string }
	// Remember makes the packet's connection no longer Unseen, if it is not
	// dropped. Only in a namespace of ours: it uses the connection's mark.
	Remember struct{}
	// Log hands the packet to whoever listens to the group.
	Log struct{ Group uint16 }
)

func (Accept) action()     {}
func (Drop) action()       {}
func (Deny) action()       {}
func (Masquerade) action() {}
func (SendTo) action()     {}
func (ClampMSS) action()   {}
func (CountLink) action()  {}
func (Remember) action()   {}
func (Log) action()        {}
