package island

import (
	"net/netip"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// translated is where workers are outside their namespaces when their IPv6
// addresses are translated to the host's: beside network.Guest6.
var translated = netip.MustParsePrefix("fd6d:6179:666c:7901::/64")

// subnet6 holds the workers' IPv6 addresses outside; the zero Prefix without
// IPv6.
func subnet6(v network.IPv6) netip.Prefix {
	switch {
	case !v.On:
		return netip.Prefix{}
	case v.Prefix.IsValid():
		return v.Prefix
	}
	return translated
}

// outside6 is the IPv6 address of who has the IPv4 address outside, which is in
// its last 32 bits: one book keeps both.
func outside6(subnet netip.Prefix, addr netip.Addr) netip.Addr {
	bytes, last := subnet.Addr().As16(), addr.As4()
	copy(bytes[12:], last[:])
	return netip.AddrFrom16(bytes)
}
