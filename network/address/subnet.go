package address

import (
	"encoding/binary"
	"net/netip"
)

// reserved counts the addresses of a subnet that no worker gets: the network's
// own, the gateway's and the broadcast address.
const reserved = 3

// Gateway returns the first host address of the subnet: the host's own side
// of every lease.
func Gateway(subnet netip.Prefix) netip.Addr {
	return subnet.Masked().Addr().Next()
}

// Capacity returns how many workers the subnet has addresses for. Only IPv4
// subnets have any.
func Capacity(subnet netip.Prefix) int {
	if !subnet.IsValid() || !subnet.Addr().Is4() || subnet.Bits() == 0 {
		return 0
	}
	return max(0, 1<<(32-subnet.Bits())-reserved)
}

// following returns the worker address after addr, and the first one after
// the last or when addr is none of the subnet's.
func following(subnet netip.Prefix, addr netip.Addr) netip.Addr {
	next := addr.Next()
	if !subnet.Contains(addr) || !subnet.Contains(next) || next == broadcast(subnet) {
		return Gateway(subnet).Next()
	}
	return next
}

func broadcast(subnet netip.Prefix) netip.Addr {
	bytes := subnet.Addr().As4()
	hosts := uint32(1)<<(32-subnet.Bits()) - 1
	binary.BigEndian.PutUint32(bytes[:], binary.BigEndian.Uint32(bytes[:])|hosts)
	return netip.AddrFrom4(bytes)
}
