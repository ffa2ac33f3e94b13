//go:build linux

package hostfirewall

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// match translates the matches that iptables leaves as they are.
func (t *translation) match(e *expr.Match) {
	switch info := e.Info.(type) {
	case *xt.ConntrackMtinfo3:
		t.conntrack(&info.ConntrackMtinfo2)
	case *xt.ConntrackMtinfo2:
		t.conntrack(info)
	case *xt.Tcp:
		t.ports(info.SrcPorts, info.DstPorts, info.Option|info.FlagsMask|byte(info.InvFlags))
	case *xt.Udp:
		t.ports(info.SrcPorts, info.DstPorts, byte(info.InvFlags))
	case *xt.AddrTypeV1:
		t.addressType(info)
	default:
		if e.Name != "comment" {
			t.unknown()
		}
	}
}

func (t *translation) conntrack(info *xt.ConntrackMtinfo2) {
	flags := xt.ConntrackFlags(info.MatchFlags) &^ xt.ConntrackStateAlias
	if flags&xt.ConntrackState != 0 {
		none := number(0)
		t.conditions = append(t.conditions, Condition{
			Of: CTState, Mask: number(uint32(info.StateMask)),
			Not:   xt.ConntrackFlags(info.InvertFlags)&xt.ConntrackState == 0,
			Spans: []Span{{none, none}},
		})
	}
	if flags != xt.ConntrackState {
		t.unknown()
	}
}

func (t *translation) ports(source, destination [2]uint16, other byte) {
	if other != 0 || source != [2]uint16{0, 65535} {
		t.unknown()
	}
	t.conditions = append(t.conditions, Condition{Of: DPort, Spans: []Span{{
		binary.BigEndian.AppendUint16(nil, destination[0]), binary.BigEndian.AppendUint16(nil, destination[1]),
	}}})
}

// addressType knows the destination's, which may be one of several.
func (t *translation) addressType(info *xt.AddrTypeV1) {
	const invertDestination = 2
	if info.Source != 0 || info.Flags&^invertDestination != 0 {
		t.unknown()
	}
	if info.Dest == 0 {
		return
	}
	c := Condition{Of: FibDAddrType, Not: info.Flags&invertDestination != 0}
	for n := range uint32(16) {
		if info.Dest&(1<<n) != 0 {
			c.Spans = append(c.Spans, Span{number(n), number(n)})
		}
	}
	t.conditions = append(t.conditions, c)
}
