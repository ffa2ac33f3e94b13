//go:build linux

package firewall

import (
	"net/netip"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// span is a range of addresses of one protocol, both ends included.
type span struct{ first, last netip.Addr }

// ranges returns prefixes of one protocol as spans that neither overlap nor
// touch: the kernel's interval sets take no others.
func ranges(prefixes []netip.Prefix) []span {
	var all []span
	for _, p := range prefixes {
		all = append(all, span{p.Masked().Addr(), network.LastAddress(p)})
	}
	slices.SortFunc(all, func(a, b span) int { return a.first.Compare(b.first) })
	var merged []span
	for _, next := range all {
		n := len(merged) - 1
		if n < 0 || merged[n].last.Less(next.first) && merged[n].last.Next() != next.first {
			merged = append(merged, next)
		} else if merged[n].last.Less(next.last) {
			merged[n].last = next.last
		}
	}
	return merged
}
