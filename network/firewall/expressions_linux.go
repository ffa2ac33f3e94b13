package firewall

import (
	"fmt"
	"net"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// register is the only one that our expressions use: each condition loads it
// and compares it before the next one does.
const register = 1

// Bits of a connection's status word, from the kernel's uapi.
const ipsDstNAT = 1 << 5

// Offsets and lengths of what is compared in packet headers.
const (
	ipv4SourceOffset      = 12
	ipv4DestinationOffset = 16
	ipv4Length            = 4
	macSourceOffset       = 6
	macLength             = 6
	portOffset            = 2
	portLength            = 2
)

func condition(m Match, sets map[string]*nftables.Set) []expr.Any {
	switch m := m.(type) {
	case In:
		return meta(expr.MetaKeyIIFNAME, Name(m).Not, interfaceName(m.Name))
	case Out:
		return meta(expr.MetaKeyOIFNAME, Name(m).Not, interfaceName(m.Name))
	case Source:
		return source(m)
	case Destination:
		return append(ipv4(ipv4DestinationOffset), compare(false, m.Address.AsSlice()))
	case DestinationIn:
		set := sets[m.Set]
		return append(ipv4(ipv4DestinationOffset),
			&expr.Lookup{SourceRegister: register, SetName: set.Name, SetID: set.ID})
	case SourceMAC:
		return sourceMAC(m)
	case Family:
		return meta(expr.MetaKeyNFPROTO, false, []byte{family(m)})
	case Protocol:
		return meta(expr.MetaKeyL4PROTO, false, []byte{m.Number})
	case DestinationPort:
		return []expr.Any{
			payload(expr.PayloadBaseTransportHeader, portOffset, portLength),
			compare(false, binaryutil.BigEndian.PutUint16(m.Port)),
		}
	case Established:
		return bits(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, m.Not)
	case Redirected:
		return bits(expr.CtKeySTATUS, ipsDstNAT, false)
	}
	panic(fmt.Sprintf("firewall: no expression for match %T", m))
}

func consequence(a Action) []expr.Any {
	switch a := a.(type) {
	case Accept:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	case Drop:
		return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
	case Masquerade:
		return []expr.Any{&expr.Masq{}}
	case SendTo:
		return []expr.Any{
			&expr.Immediate{Register: register, Data: a.Address.AsSlice()},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: register},
		}
	}
	panic(fmt.Sprintf("firewall: no expression for action %T", a))
}

func compare(not bool, data []byte) expr.Any {
	op := expr.CmpOpEq
	if not {
		op = expr.CmpOpNeq
	}
	return &expr.Cmp{Op: op, Register: register, Data: data}
}

func meta(key expr.MetaKey, not bool, data []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: register}, compare(not, data)}
}

// interfaceName is compared with its terminating zero, and without it when it
// stands for all names that begin so.
func interfaceName(name string) []byte {
	if prefix, ok := strings.CutSuffix(name, "*"); ok {
		return []byte(prefix)
	}
	return append([]byte(name), make([]byte, unix.IFNAMSIZ-len(name))...)
}

func family(f Family) byte {
	if f.IPv6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

func payload(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{Base: base, Offset: offset, Len: length, DestRegister: register}
}

func ipv4(offset uint32) []expr.Any {
	return append(condition(Family{}, nil), payload(expr.PayloadBaseNetworkHeader, offset, ipv4Length))
}

func source(s Source) []expr.Any {
	all := ipv4(ipv4SourceOffset)
	if !s.Prefix.IsSingleIP() {
		mask := net.CIDRMask(s.Prefix.Bits(), 8*ipv4Length)
		all = append(all, masked(mask))
	}
	return append(all, compare(s.Not, s.Prefix.Masked().Addr().AsSlice()))
}

func sourceMAC(m SourceMAC) []expr.Any {
	mac, err := net.ParseMAC(m.MAC)
	if err != nil {
		panic(fmt.Sprintf("firewall: %v", err))
	}
	ethernet := meta(expr.MetaKeyIIFTYPE, false, binaryutil.NativeEndian.PutUint16(unix.ARPHRD_ETHER))
	return append(ethernet,
		payload(expr.PayloadBaseLLHeader, macSourceOffset, macLength), compare(m.Not, mac))
}

// bits asks for any of the bits of a word about the packet's connection.
func bits(key expr.CtKey, any uint32, not bool) []expr.Any {
	zero := binaryutil.NativeEndian.PutUint32(0)
	return []expr.Any{
		&expr.Ct{Key: key, Register: register},
		masked(binaryutil.NativeEndian.PutUint32(any)),
		compare(!not, zero),
	}
}

func masked(mask []byte) expr.Any {
	return &expr.Bitwise{
		SourceRegister: register, DestRegister: register,
		Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask)),
	}
}
