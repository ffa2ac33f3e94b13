package network

import (
	"fmt"
	"net/netip"
)

// IPv6 says whether workers speak it, and what they are called outside. The zero
// value is off: then there is no IPv6 around a worker at all.
type IPv6 struct {
	// On gives every guest Guest6, and a way out.
	On bool
	// Prefix is routed to this host, and each worker has an address of its own
	// in it. The zero Prefix means that workers share the host's address, as
	// they do for IPv4.
	Prefix netip.Prefix
}

// Guest6 and Gateway6 are what Guest and Gateway are, for IPv6: of a unique
// local prefix (RFC 4193) that no one else made at random.
var (
	Guest6   = netip.MustParsePrefix("fd6d:6179:666c:7900::2/64")
	Gateway6 = netip.MustParseAddr("fd6d:6179:666c:7900::1")
)

// maxBits leaves room for every worker's IPv4 address behind a prefix.
const maxBits = 96

// ParseIPv6 reads "off", "nat" or a prefix that is routed to this host.
func ParseIPv6(text string) (IPv6, error) {
	switch text {
	case "off":
		return IPv6{}, nil
	case "nat":
		return IPv6{On: true}, nil
	}
	prefix, err := ParsePrefix(text)
	switch {
	case err != nil:
		return IPv6{}, fmt.Errorf(`%q is neither "off", "nat" nor a network: write for instance "2001:db8:1:2::/64" if that is routed to this host`, text)
	case !prefix.Addr().Is6() || prefix.Addr().Is4In6():
		return IPv6{}, fmt.Errorf(`%q is not IPv6: write "nat", or for instance "2001:db8:1:2::/64" if that is routed to this host`, text)
	case prefix.Bits() > maxBits:
		return IPv6{}, fmt.Errorf("%s is too small for the workers' addresses: write a prefix of /%d or shorter", prefix, maxBits)
	case prefix.Overlaps(Guest6):
		return IPv6{}, fmt.Errorf("%s overlaps %s, which every worker has inside: choose another", prefix, Guest6.Masked())
	}
	return IPv6{On: true, Prefix: prefix}, nil
}

// String returns what ParseIPv6 reads.
func (v IPv6) String() string {
	switch {
	case !v.On:
		return "off"
	case v.Prefix.IsValid():
		return v.Prefix.String()
	}
	return "nat"
}
