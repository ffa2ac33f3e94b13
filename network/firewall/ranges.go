package firewall

import (
	"net/netip"
	"slices"
)

// span is a range of addresses of one protocol. after is the first address
// behind it, the zero Addr when there is none.
type span struct{ first, after netip.Addr }

// ranges returns prefixes of one protocol as spans that neither overlap nor
// touch, for the kernel's interval sets take no others.
func ranges(prefixes []netip.Prefix) []span {
	var spans []span
	for _, prefix := range ordered(prefixes) {
		next := span{prefix.Addr(), behind(prefix)}
		if len(spans) == 0 || !touch(spans[len(spans)-1], next) {
			spans = append(spans, next)
			continue
		}
		last := &spans[len(spans)-1]
		last.after = later(last.after, next.after)
	}
	return spans
}

func ordered(prefixes []netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, prefix := range prefixes {
		all = append(all, prefix.Masked())
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return all
}

func behind(prefix netip.Prefix) netip.Addr {
	bytes := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < 8*len(bytes); bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last.Next()
}

func touch(a, b span) bool {
	return !a.after.IsValid() || !a.after.Less(b.first)
}

func later(a, b netip.Addr) netip.Addr {
	if !a.IsValid() || !b.IsValid() {
		return netip.Addr{}
	}
	if a.Less(b) {
		return b
	}
	return a
}
