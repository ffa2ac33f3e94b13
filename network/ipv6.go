package network

import (
	"fmt"
	"net/netip"
	"slices"
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

// routable is where a prefix that others route to this host can be: global
// addresses, and the unique local ones of a site.
var routable = []netip.Prefix{netip.MustParsePrefix("2000::/3"), netip.MustParsePrefix("fc00::/7")}

// ParseIPv6 reads "off", "nat" or a prefix that is routed to this host.
func ParseIPv6(text string) (IPv6, error) {
	switch text {
	case "off":
		return IPv6{}, nil
	case "nat":
		return IPv6{On: true}, nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return IPv6{}, fmt.Errorf(`%q is neither "off", "nat" nor a network: `+
			`write for instance "2001:db8:1:2::/64" if that is routed to this host`, text)
	}
	if !prefix.Addr().Is6() || prefix.Addr().Is4In6() {
		return IPv6{}, fmt.Errorf(`%q is not IPv6: `+
			`write "nat", or for instance "2001:db8:1:2::/64" if that is routed to this host`, text)
	}
	if prefix, err = ParsePrefix(text); err != nil {
		return IPv6{}, err
	}
	if err := checkRouted(prefix); err != nil {
		return IPv6{}, err
	}
	return IPv6{On: true, Prefix: prefix}, nil
}

// checkRouted refuses what cannot be the workers' addresses outside.
func checkRouted(prefix netip.Prefix) error {
	isRoutable := slices.ContainsFunc(routable, func(all netip.Prefix) bool {
		return all.Contains(prefix.Addr()) && all.Bits() <= prefix.Bits()
	})
	switch {
	case prefix.Bits() > maxBits:
		return fmt.Errorf("%s is too small for the workers' addresses: write a prefix of /%d or shorter",
			prefix, maxBits)
	case !isRoutable:
		return fmt.Errorf("%s is never routed to a host: write a part of 2000::/3 or fc00::/7, or \"nat\"", prefix)
	case prefix.Overlaps(Guest6):
		return fmt.Errorf("%s overlaps %s, which every worker has inside: choose another", prefix, Guest6.Masked())
	}
	return nil
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
