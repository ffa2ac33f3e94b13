package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// register is the only one that our expressions use: each condition loads it
// and compares it before the next one does.
const register = 1

// Numbers for connections, from the kernel's uapi: a bit of the status word, and
// the direction in which a connection was opened.
const (
	ipsDstNAT         = 1 << 5
	originalDirection = 0
)

// Offsets and lengths of what is compared in packet headers.
const (
	macSourceOffset = 6
	macLength       = 6
	portOffset      = 2
	portLength      = 2
	tcpFlagsOffset  = 13
	icmpTypeOffset  = 0
)

// Values of the packet headers, as the protocols have them.
const (
	tcpSYN                    = 0x02
	icmpNeighbourSolicitation = 135
)

// addresses says where an IP header keeps them.
type addresses struct{ source, destination, length uint32 }

var (
	ipv4 = addresses{source: 12, destination: 16, length: 4}
	ipv6 = addresses{source: 8, destination: 24, length: 16}
)

func condition(m Match, sets map[string]*nftables.Set) []expr.Any {
	switch m := m.(type) {
	case In:
		return meta(expr.MetaKeyIIFNAME, Name(m).Not, interfaceName(m.Name))
	case Out:
		return meta(expr.MetaKeyOIFNAME, Name(m).Not, interfaceName(m.Name))
	case Source:
		at := header(m.Prefix.Addr().Is6())
		return within(at.source, m.Prefix, m.Not)
	case Destination:
		at := header(m.Prefix.Addr().Is6())
		return within(at.destination, m.Prefix, false)
	case DestinationIn:
		return lookup(sets[m.Set])
	case SourceMAC:
		return sourceMAC(m)
	case Family:
		return meta(expr.MetaKeyNFPROTO, false, []byte{protocol(m.IPv6)})
	case Protocol:
		return meta(expr.MetaKeyL4PROTO, false, []byte{m.Number})
	case DestinationPorts:
		return ports(m)
	case NeighbourSolicitation:
		return append(condition(Protocol{unix.IPPROTO_ICMPV6}, nil),
			payload(expr.PayloadBaseTransportHeader, icmpTypeOffset, 1), compare(false, []byte{icmpNeighbourSolicitation}))
	case Opening:
		return append(condition(Protocol{unix.IPPROTO_TCP}, nil),
			payload(expr.PayloadBaseTransportHeader, tcpFlagsOffset, 1), masked([]byte{tcpSYN}), compare(true, []byte{0}))
	case Established:
		return bits(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, m.Not)
	case New:
		return bits(expr.CtKeySTATE, expr.CtStateBitNEW, false)
	case Stray:
		return bits(expr.CtKeySTATE, expr.CtStateBitINVALID|expr.CtStateBitUNTRACKED, false)
	case Redirected:
		return append(bits(expr.CtKeySTATUS, ipsDstNAT, false), originally(m.From)...)
	case Unseen:
		return []expr.Any{&expr.Ct{Key: expr.CtKeyMARK, Register: register}, compare(false, binaryutil.NativeEndian.PutUint32(0))}
	case Faster:
		return []expr.Any{rate(m.PerSecond, true)}
	case Slower:
		return []expr.Any{rate(m.PerSecond, false)}
	case More:
		return []expr.Any{&expr.Connlimit{Count: uint32(m.Connections), Flags: expr.NFT_CONNLIMIT_F_INV}}
	}
	panic(fmt.Sprintf("firewall: no expression for match %T", m))
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

func protocol(ipv6 bool) byte {
	if ipv6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

func header(isIPv6 bool) addresses {
	if isIPv6 {
		return ipv6
	}
	return ipv4
}

func payload(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{Base: base, Offset: offset, Len: length, DestRegister: register}
}

// address loads an address of the network header, where that is of the
// protocol.
func address(isIPv6 bool, offset uint32) []expr.Any {
	return append(condition(Family{isIPv6}, nil),
		payload(expr.PayloadBaseNetworkHeader, offset, header(isIPv6).length))
}

func within(offset uint32, p netip.Prefix, not bool) []expr.Any {
	all := address(p.Addr().Is6(), offset)
	if !p.IsSingleIP() {
		all = append(all, masked(net.CIDRMask(p.Bits(), p.Addr().BitLen())))
	}
	return append(all, compare(not, p.Masked().Addr().AsSlice()))
}

func lookup(set *nftables.Set) []expr.Any {
	isIPv6 := set.KeyType == nftables.TypeIP6Addr
	return append(address(isIPv6, header(isIPv6).destination),
		&expr.Lookup{SourceRegister: register, SetName: set.Name, SetID: set.ID})
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

func ports(p DestinationPorts) []expr.Any {
	load := payload(expr.PayloadBaseTransportHeader, portOffset, portLength)
	first, last := binaryutil.BigEndian.PutUint16(p.First), binaryutil.BigEndian.PutUint16(p.Last)
	if p.First == p.Last {
		return []expr.Any{load, compare(false, first)}
	}
	return []expr.Any{load,
		&expr.Cmp{Op: expr.CmpOpGte, Register: register, Data: first},
		&expr.Cmp{Op: expr.CmpOpLte, Register: register, Data: last}}
}

// originally compares the destination that a connection had before it was
// changed; the zero address is every one.
func originally(to netip.Addr) []expr.Any {
	if !to.IsValid() {
		return nil
	}
	return append(condition(Family{to.Is6()}, nil),
		&expr.Ct{Key: expr.CtKeyDST, Register: register, Direction: originalDirection},
		compare(false, to.AsSlice()))
}

// rate lets as many packets come at once as it does in a second.
func rate(perSecond int, over bool) expr.Any {
	return &expr.Limit{
		Type: expr.LimitTypePkts, Rate: uint64(perSecond), Burst: uint32(perSecond), Unit: expr.LimitTimeSecond, Over: over,
	}
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
