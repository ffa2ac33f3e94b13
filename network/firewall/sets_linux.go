package firewall

import (
	"net/netip"
	"time"

	"github.com/google/nftables"
)

// linksForgotten is when a link that is denied nothing more leaves its set: its
// worker is long gone, or has nothing to be seen.
const linksForgotten = 24 * time.Hour

// maxElements bounds the sets that grow by themselves.
const maxElements = 1 << 16

// kernelSet numbers the set itself: rules of the transaction refer to it by
// number, and the library's own counter is not safe for concurrent use.
func kernelSet(table *nftables.Table, n int, s Set) *nftables.Set {
	set := &nftables.Set{Table: table, ID: uint32(n + 1), Name: s.Name}
	switch s.Kind {
	case Networks:
		set.KeyType, set.Interval = nftables.TypeIPAddr, true
	case Networks6:
		set.KeyType, set.Interval = nftables.TypeIP6Addr, true
	case TimedAddresses:
		set.KeyType, set.HasTimeout, set.Size = nftables.TypeIPAddr, true, maxElements
	case TimedAddresses6:
		set.KeyType, set.HasTimeout, set.Size = nftables.TypeIP6Addr, true, maxElements
	case CountedLinks:
		set.KeyType, set.Size = nftables.TypeIFName, maxElements
		set.Dynamic, set.Counter, set.HasTimeout, set.Timeout = true, true, true, linksForgotten
	}
	return set
}

func elements(prefixes []netip.Prefix) []nftables.SetElement {
	var elements []nftables.SetElement
	for _, span := range ranges(prefixes) {
		elements = append(elements, nftables.SetElement{Key: span.first.AsSlice()})
		if after := span.last.Next(); after.IsValid() {
			elements = append(elements, nftables.SetElement{Key: after.AsSlice(), IntervalEnd: true})
		}
	}
	return elements
}
