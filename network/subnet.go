package network

import "net/netip"

// Subnet is an IPv4 network that a host takes its workers' addresses from. No
// worker gets three of them: the network's own, the gateway's, and the broadcast
// address.
type Subnet netip.Prefix

// Gateway returns the first address of a host: this host's own side of every
// lease.
func (s Subnet) Gateway() netip.Addr { return netip.Prefix(s).Masked().Addr().Next() }

// First returns the first worker's address.
func (s Subnet) First() netip.Addr { return s.Gateway().Next() }

// Last returns the last worker's address.
func (s Subnet) Last() netip.Addr { return LastAddress(netip.Prefix(s)).Prev() }

// Capacity returns how many workers the subnet has addresses for. Only IPv4
// subnets have any.
func (s Subnet) Capacity() int {
	p := netip.Prefix(s)
	if !p.IsValid() || !p.Addr().Is4() || p.Bits() == 0 {
		return 0
	}
	const reserved = 3
	return max(0, 1<<(32-p.Bits())-reserved)
}

// After returns the worker's address that follows addr; the first one, if addr
// is the last or not a worker's of the subnet.
func (s Subnet) After(addr netip.Addr) netip.Addr {
	if addr.Less(s.First()) || !addr.Less(s.Last()) {
		return s.First()
	}
	return addr.Next()
}

// LastAddress returns the last address of a network, IPv4 or IPv6.
func LastAddress(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(bytes); bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}
