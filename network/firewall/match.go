package firewall

import "net/netip"

// Match is one condition on a packet: one of the types below.
type Match interface{ match() }

type (
	// In compares the interface that the packet came in by. A name that ends
	// in "*" stands for all names that begin so.
	In Name
	// Out compares the interface that the packet leaves by.
	Out Name
	// Name is an interface name.
	Name struct {
		Name string
		Not  bool
	}
	// Source compares the packet's source. It matches no packet of the other
	// protocol, IPv4 or IPv6.
	Source struct {
		Prefix netip.Prefix
		Not    bool
	}
	// Destination compares the packet's destination, in the same way.
	Destination struct{ Prefix netip.Prefix }
	// DestinationIn looks the packet's destination up in a set.
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
	// DestinationPorts compare the packet's port with a range; a Protocol match
	// precedes them.
	DestinationPorts struct{ First, Last uint16 }
	// NeighbourSolicitation matches what IPv6 has in the place of ARP requests.
	NeighbourSolicitation struct{}
	// Opening matches the packets that open a TCP connection, in both
	// directions.
	Opening struct{}
	// Established matches packets of connections already accepted, and what
	// belongs to them, such as ICMP errors.
	Established struct{ Not bool }
	// New matches the first packets of a connection.
	New struct{}
	// Stray matches packets of no connection that the kernel could follow, and
	// so without any address translation.
	Stray struct{}
	// Redirected matches packets of connections whose destination was changed,
	// in both directions: from an address, or from any when that is the zero one.
	Redirected struct{ From netip.Addr }
	// Unseen matches packets of connections of which Remember saw none.
	Unseen struct{}
	// Faster matches the packets that exceed so many in a second, and Slower
	// those that do not. As many again may come at once.
	Faster struct{ PerSecond int }
	// Slower is the opposite of Faster.
	Slower struct{ PerSecond int }
	// More matches while more than so many connections exist that came here.
	More struct{ Connections int }
)

func (In) match()                    {}
func (Out) match()                   {}
func (Source) match()                {}
func (Destination) match()           {}
func (DestinationIn) match()         {}
func (SourceMAC) match()             {}
func (Family) match()                {}
func (Protocol) match()              {}
func (DestinationPorts) match()      {}
func (NeighbourSolicitation) match() {}
func (Opening) match()               {}
func (Established) match()           {}
func (New) match()                   {}
func (Stray) match()                 {}
func (Redirected) match()            {}
func (Unseen) match()                {}
func (Faster) match()                {}
func (Slower) match()                {}
func (More) match()                  {}
