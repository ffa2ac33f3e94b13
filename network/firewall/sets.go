//go:build linux

package firewall

import (
	"net/netip"
	"time"

	"github.com/google/nftables"
)

// linksForgotten is how long after its last denied packet a link leaves its set.
const linksForgotten = 24 * time.Hour

// maxElements bounds the sets that grow by themselves.
const maxElements = 1 << 16

// kernelSet numbers the set itself: rules of the transaction refer to it by
// number, and the library's own counter is not safe for concurrent use.
func kernelSet(table *nftables.Table, n int, s set) *nftables.Set {
	kernel := &nftables.Set{Table: table, ID: uint32(n + 1), Name: s.name}
	switch s.kind {
	case intervals:
		kernel.KeyType, kernel.Interval = nftables.TypeIPAddr, true
	case intervals6:
		kernel.KeyType, kernel.Interval = nftables.TypeIP6Addr, true
	case timeouts:
		kernel.KeyType, kernel.HasTimeout, kernel.Size = nftables.TypeIPAddr, true, maxElements
	case timeouts6:
		kernel.KeyType, kernel.HasTimeout, kernel.Size = nftables.TypeIP6Addr, true, maxElements
	case countedLinks:
		kernel.KeyType, kernel.Size = nftables.TypeIFName, maxElements
		kernel.Dynamic, kernel.Counter, kernel.HasTimeout, kernel.Timeout = true, true, true, linksForgotten
	}
	return kernel
}

// elements are the beginnings of intervals, and the first addresses behind them.
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
