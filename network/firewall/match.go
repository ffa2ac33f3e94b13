//go:build linux

package firewall

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// match is one condition on a packet: one of the types below. Each is called as
// in nft, and its comment shows what `nft list ruleset` prints.
type match interface {
	expressions(sets map[string]*nftables.Set) []expr.Any
}

// iifname "tap0": the interface that the packet came in by. A name that ends in
// "*" stands for all names that begin so.
type iifname struct {
	name string
	not  bool
}

func (m iifname) expressions(map[string]*nftables.Set) []expr.Any {
	return meta(expr.MetaKeyIIFNAME, m.not, interfaceName(m.name))
}

// oifname "uplink": the interface that the packet leaves by.
type oifname struct {
	name string
	not  bool
}

func (m oifname) expressions(map[string]*nftables.Set) []expr.Any {
	return meta(expr.MetaKeyOIFNAME, m.not, interfaceName(m.name))
}

// fib daddr type local: the host itself hears what is sent there.
type fibDaddrTypeLocal struct{}

func (fibDaddrTypeLocal) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: register, ResultADDRTYPE: true, FlagDADDR: true},
		compare(false, binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)),
	}
}

// fib daddr . mark oifname "eth0": the interface that the host's routes lead out by,
// of a packet that is not routed yet. Rules of policy routing count, but for those
// by the interface that it came in by. A name that ends in "*" is as in iifname.
type fibDaddrOifname struct {
	name string
	not  bool
}

func (m fibDaddrOifname) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: register, ResultOIFNAME: true, FlagDADDR: true, FlagMARK: true},
		compare(m.not, interfaceName(m.name)),
	}
}

// ip saddr 10.0.0.0/8, ip6 saddr fd00::/8. No packet of the other protocol
// matches, with != neither.
type saddr struct {
	prefix netip.Prefix
	not    bool
}

func (m saddr) expressions(map[string]*nftables.Set) []expr.Any {
	return within(header(m.prefix.Addr().Is6()).source, m.prefix, m.not)
}

// ip daddr 10.0.0.0/8, ip6 daddr fd00::/8
type daddr struct{ prefix netip.Prefix }

func (m daddr) expressions(map[string]*nftables.Set) []expr.Any {
	return within(header(m.prefix.Addr().Is6()).destination, m.prefix, false)
}

// ip daddr @deny, ip6 daddr @deny6
type daddrIn struct{ set string }

func (m daddrIn) expressions(sets map[string]*nftables.Set) []expr.Any {
	in := sets[m.set]
	isIPv6 := in.KeyType == nftables.TypeIP6Addr
	return append(address(isIPv6, header(isIPv6).destination),
		&expr.Lookup{SourceRegister: register, SetName: in.Name, SetID: in.ID})
}

// ether saddr 02:6d:66:00:00:02
type etherSaddr struct {
	mac string
	not bool
}

func (m etherSaddr) expressions(map[string]*nftables.Set) []expr.Any {
	mac, err := net.ParseMAC(m.mac)
	if err != nil {
		panic(fmt.Sprintf("firewall: %v", err))
	}
	ethernet := meta(expr.MetaKeyIIFTYPE, false, binaryutil.NativeEndian.PutUint16(unix.ARPHRD_ETHER))
	return append(ethernet,
		payload(expr.PayloadBaseLLHeader, macSourceOffset, macLength), compare(m.not, mac))
}

// meta nfproto ipv4, meta nfproto ipv6
type nfproto struct{ ipv6 bool }

func (m nfproto) expressions(map[string]*nftables.Set) []expr.Any {
	return meta(expr.MetaKeyNFPROTO, false, []byte{family(m.ipv6)})
}

// meta l4proto tcp
type l4proto struct{ number byte }

func (m l4proto) expressions(map[string]*nftables.Set) []expr.Any {
	return meta(expr.MetaKeyL4PROTO, false, []byte{m.number})
}

// tcp dport 443, udp dport 5000-5999. An l4proto match precedes it.
type dport struct{ first, last uint16 }

func (m dport) expressions(map[string]*nftables.Set) []expr.Any {
	load := payload(expr.PayloadBaseTransportHeader, portOffset, portLength)
	first, last := binaryutil.BigEndian.PutUint16(m.first), binaryutil.BigEndian.PutUint16(m.last)
	if m.first == m.last {
		return []expr.Any{load, compare(false, first)}
	}
	return []expr.Any{load,
		&expr.Cmp{Op: expr.CmpOpGte, Register: register, Data: first},
		&expr.Cmp{Op: expr.CmpOpLte, Register: register, Data: last}}
}

// icmpv6 type nd-neighbor-solicit: what IPv6 has in the place of ARP requests.
type neighborSolicit struct{}

func (neighborSolicit) expressions(map[string]*nftables.Set) []expr.Any {
	return icmpType(unix.IPPROTO_ICMPV6, ndNeighborSolicit)
}

// icmp type time-exceeded, icmpv6 type time-exceeded: a packet had no hops left.
type timeExceeded struct{ ipv6 bool }

func (m timeExceeded) expressions(map[string]*nftables.Set) []expr.Any {
	if m.ipv6 {
		return icmpType(unix.IPPROTO_ICMPV6, icmp6TimeExceeded)
	}
	return icmpType(unix.IPPROTO_ICMP, icmpTimeExceeded)
}

func icmpType(protocol, number byte) []expr.Any {
	return append(l4proto{protocol}.expressions(nil),
		payload(expr.PayloadBaseTransportHeader, icmpTypeOffset, 1), compare(false, []byte{number}))
}

// tcp flags syn: the packets that open a TCP connection, in both directions.
type tcpFlagsSYN struct{}

func (tcpFlagsSYN) expressions(map[string]*nftables.Set) []expr.Any {
	return append(l4proto{unix.IPPROTO_TCP}.expressions(nil),
		payload(expr.PayloadBaseTransportHeader, tcpFlagsOffset, 1), masked([]byte{tcpSYN}), compare(true, []byte{0}))
}

// ct state established,related: one of the states of the packet's connection.
type ctState struct {
	anyOf uint32
	not   bool
}

// The states of a connection. Invalid and untracked are packets of which the
// kernel follows no connection, and so translates no address. Related are, for
// instance, ICMP errors.
const (
	ctInvalid     = expr.CtStateBitINVALID
	ctEstablished = expr.CtStateBitESTABLISHED
	ctRelated     = expr.CtStateBitRELATED
	ctNew         = expr.CtStateBitNEW
	ctUntracked   = expr.CtStateBitUNTRACKED
)

func (m ctState) expressions(map[string]*nftables.Set) []expr.Any {
	return bits(expr.CtKeySTATE, m.anyOf, m.not)
}

// directionReply is IP_CT_DIR_REPLY of the kernel.
const directionReply = 1

// ct direction reply: the packet answers what the other end began.
type ctDirectionReply struct{}

func (ctDirectionReply) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: register}, compare(false, []byte{directionReply}),
	}
}

// ct status dnat: connections whose destination was changed, in both directions.
type ctStatusDNAT struct{}

func (ctStatusDNAT) expressions(map[string]*nftables.Set) []expr.Any {
	return bits(expr.CtKeySTATUS, ipsDstNAT, false)
}

// ct original ip daddr 10.1.2.3: the destination that the connection had before
// it was changed.
type ctOriginalDaddr struct{ addr netip.Addr }

func (m ctOriginalDaddr) expressions(map[string]*nftables.Set) []expr.Any {
	return append(nfproto{m.addr.Is6()}.expressions(nil),
		&expr.Ct{Key: expr.CtKeyDST, Register: register, Direction: originalDirection},
		compare(false, m.addr.AsSlice()))
}

// ct mark 0x00000001
type ctMark struct{ mark uint32 }

func (m ctMark) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: register},
		compare(false, binaryutil.NativeEndian.PutUint32(m.mark)),
	}
}

// ct count over 4096: while more connections exist that came here.
type ctCountOver struct{ connections int }

func (m ctCountOver) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{&expr.Connlimit{Count: uint32(m.connections), Flags: expr.NFT_CONNLIMIT_F_INV}}
}

// limit rate 10/second burst 10 packets: so many in a second, and as many again
// at once; with over, the packets that exceed this.
type limitRate struct {
	perSecond int
	over      bool
}

func (m limitRate) expressions(map[string]*nftables.Set) []expr.Any {
	return []expr.Any{&expr.Limit{
		Type: expr.LimitTypePkts, Rate: uint64(m.perSecond), Burst: uint32(m.perSecond),
		Unit: expr.LimitTimeSecond, Over: m.over,
	}}
}
