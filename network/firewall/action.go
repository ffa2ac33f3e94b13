//go:build linux

package firewall

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// action is what happens to a packet: one of the types below. Each is called as
// in nft, and its comment shows what `nft list ruleset` prints.
type action interface {
	expressions(sets map[string]*nftables.Set) []expr.Any
}

// accept: the packet's way through this chain ends.
type accept struct{}

func (accept) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
}

// counter drop
type drop struct{}

func (drop) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
}

// counter goto denied: the packet goes on in another chain of the table, and does
// not come back.
type gotoChain struct{ chain string }

func (a gotoChain) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictGoto, Chain: a.chain}}
}

// reject with icmpx port-unreachable: whoever has sent it need not wait for an answer.
type reject struct{}

func (reject) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
}

// masquerade: the connection gets the address of the interface that it leaves by.
type masquerade struct{}

func (masquerade) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{&expr.Masq{}}
}

// dnat ip to 198.18.0.2: the connection gets another destination.
type dnat struct{ to netip.Addr }

func (a dnat) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: register, Data: a.to.AsSlice()},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(family(a.to.Is6())), RegAddrMin: register},
	}
}

// ip ttl set 64, ip6 hoplimit set 64: how many routers may still pass the packet
// on. An nfproto match precedes it.
type setHops struct {
	ipv6 bool
	hops byte
}

func (a setHops) expressions(map[string]*nftables.Set) []expr.Any {
	write := &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: register,
		Base: expr.PayloadBaseNetworkHeader, Offset: hopLimitOffset, Len: 1,
	}
	if !a.ipv6 {
		write.Offset, write.CsumType, write.CsumOffset = ttlOffset, expr.CsumTypeInet, checksumOffset
	}
	return []expr.Any{&expr.Immediate{Register: register, Data: []byte{a.hops}}, write}
}

// tcp option maxseg size set rt mtu: the two ends of a TCP connection agree on
// segments that fit the MTU of the route. The kernel never lets the size grow.
type maxsegRouteMTU struct{}

func (maxsegRouteMTU) expressions(map[string]*nftables.Set) []expr.Any {
	const option, offset, length = 2, 2, 2 // the number of maxseg, and where its size is
	return []expr.Any{
		&expr.Rt{Register: register, Key: expr.RtTCPMSS},
		&expr.Byteorder{
			SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: length, Size: length,
		},
		&expr.Exthdr{SourceRegister: register, Op: expr.ExthdrOpTcpopt, Type: option, Offset: offset, Len: length},
	}
}

// update @denied-links { iifname timeout 1d counter }: the packet is counted for
// the interface that it came in by, in a set of countedLinks.
type updateIifname struct{ set string }

func (a updateIifname) expressions(sets map[string]*nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register},
		&expr.Dynset{
			SrcRegKey: register, SetName: a.set, SetID: sets[a.set].ID,
			Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: linksForgotten, Exprs: []expr.Any{&expr.Counter{}},
		},
	}
}

// ct mark set 0x00000001. Only in a namespace of ours: on the host marks may be
// somebody else's.
type setCtMark struct{ mark uint32 }

func (a setCtMark) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: register, Data: binaryutil.NativeEndian.PutUint32(a.mark)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: register, SourceRegister: true},
	}
}

// log group 1: the packet is handed to whoever listens to the group.
type logGroup struct{ group uint16 }

func (a logGroup) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{&expr.Log{Key: 1 << unix.NFTA_LOG_GROUP, Group: a.group}}
}
