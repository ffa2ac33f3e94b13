//go:build linux

package firewall

import (
	"net"
	"net/netip"
	"strings"

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

// Offsets and lengths of what is compared in packet headers, in bytes.
const (
	macSourceOffset = 6
	macLength       = 6
	portOffset      = 2
	portLength      = 2
	tcpFlagsOffset  = 13
	icmpTypeOffset  = 0
	ttlOffset       = 8
	checksumOffset  = 10
	hopLimitOffset  = 7
)

// Values of the packet headers, as the protocols have them.
const (
	tcpSYN            = 0x02
	ndNeighborSolicit = 135
	icmpTimeExceeded  = 11
	icmp6TimeExceeded = 3
)

// addresses says where an IP header keeps them.
type addresses struct{ source, destination, length uint32 }

func header(isIPv6 bool) addresses {
	if isIPv6 {
		return addresses{source: 8, destination: 24, length: 16}
	}
	return addresses{source: 12, destination: 16, length: 4}
}

func family(isIPv6 bool) byte {
	if isIPv6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
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

func payload(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{Base: base, Offset: offset, Len: length, DestRegister: register}
}

// address loads an address of the network header, where that is of the
// protocol.
func address(isIPv6 bool, offset uint32) []expr.Any {
	return append(nfproto{isIPv6}.expressions(nil),
		payload(expr.PayloadBaseNetworkHeader, offset, header(isIPv6).length))
}

func within(offset uint32, p netip.Prefix, not bool) []expr.Any {
	all := address(p.Addr().Is6(), offset)
	if !p.IsSingleIP() {
		all = append(all, masked(net.CIDRMask(p.Bits(), p.Addr().BitLen())))
	}
	return append(all, compare(not, p.Masked().Addr().AsSlice()))
}

// bits asks for any of the bits of a word about the packet's connection.
func bits(key expr.CtKey, any uint32, not bool) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: register},
		masked(binaryutil.NativeEndian.PutUint32(any)),
		compare(!not, binaryutil.NativeEndian.PutUint32(0)),
	}
}

func masked(mask []byte) expr.Any {
	return &expr.Bitwise{
		SourceRegister: register, DestRegister: register,
		Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask)),
	}
}
