//go:build linux

package hostfirewall

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// spansOf returns the values that a set holds.
func spansOf(elements []nftables.SetElement) []Span {
	var spans []Span
	for _, c := range casesOf(elements) {
		spans = append(spans, c.If[0].Spans...)
	}
	return spans
}

// casesOf returns a rule for each element of a verdict map; of a set, rules
// that do nothing. A set of intervals has elements for their beginnings, and
// others for the first values behind them.
func casesOf(elements []nftables.SetElement) []Rule {
	elements = slices.Clone(elements)
	slices.SortFunc(elements, func(a, b nftables.SetElement) int { return bytes.Compare(a.Key, b.Key) })
	intervals := slices.ContainsFunc(elements, func(e nftables.SetElement) bool { return e.IntervalEnd })
	var rules []Rule
	for n, e := range elements {
		if e.IntervalEnd {
			continue
		}
		span := Span{e.Key, e.Key}
		switch {
		case e.KeyEnd != nil:
			span.Last = e.KeyEnd
		case intervals && n+1 < len(elements):
			span.Last = before(elements[n+1].Key)
		case intervals:
			span.Last = bytes.Repeat([]byte{0xff}, len(e.Key))
		}
		rules = append(rules, Rule{If: []Condition{{Spans: []Span{span}}}, Then: mapped(e.Val)})
	}
	return rules
}

// before returns the value that precedes another.
func before(value []byte) []byte {
	value = slices.Clone(value)
	for n := len(value) - 1; n >= 0; n-- {
		value[n]--
		if value[n] != 0xff {
			break
		}
	}
	return value
}

// mapped returns the verdict of an element of a verdict map.
func mapped(data []byte) Verdict {
	attributes, err := nl.ParseRouteAttr(data)
	if err != nil {
		return Verdict{}
	}
	kind := expr.VerdictContinue
	var chain string
	for _, a := range attributes {
		switch a.Attr.Type {
		case unix.NFTA_VERDICT_CODE:
			kind = expr.VerdictKind(int32(binary.BigEndian.Uint32(a.Value)))
		case unix.NFTA_VERDICT_CHAIN:
			chain = string(bytes.TrimRight(a.Value, "\x00"))
		}
	}
	return verdict(kind, chain)
}
