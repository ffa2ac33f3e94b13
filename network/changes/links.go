//go:build linux

package changes

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Links is a change of how the host takes packets.
type Links struct {
	// Heard is where the host began, or ceased, to hear what is sent; the zero
	// Prefix when nothing of that changed.
	Heard netip.Prefix
	// Unforwarding is the index of a link that does not forward, which new ones do
	// not; AllLinks stands for every link, and 0 for none.
	Unforwarding int
	// Missed says that the kernel had no room to tell all: anything may have
	// changed, and the rest is empty.
	Missed bool
}

// AllLinks is the index that stands for every link.
const AllLinks = -1

// OfLinks calls each for every change in the calling thread's network namespace.
func OfLinks(each func(Links)) (*Listener, error) {
	heard := func(message netlink.Message) {
		change := Links{}
		switch message.Header.Type {
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			change.Heard = local(message)
		case unix.RTM_NEWNETCONF:
			change.Unforwarding = unforwarding(message)
		}
		if change != (Links{}) {
			each(change)
		}
	}
	groups := []uint32{
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
	}
	return listen(unix.NETLINK_ROUTE, groups, heard, func() { each(Links{Missed: true}) })
}

// local is the destination of a route of the local table, which is where the host
// hears; the zero Prefix for other routes.
func local(message netlink.Message) netip.Prefix {
	const lengthAt, tableAt, typeAt = 1, 4, 7
	routes := attributes(message, unix.SizeofRtMsg)
	if routes == nil || message.Data[tableAt] != unix.RT_TABLE_LOCAL || message.Data[typeAt] == unix.RTN_MULTICAST {
		return netip.Prefix{}
	}
	for _, a := range routes {
		if addr, ok := netip.AddrFromSlice(a.Data); ok && a.Type == unix.RTA_DST {
			return netip.PrefixFrom(addr, int(message.Data[lengthAt]))
		}
	}
	return netip.Prefix{}
}

// Attributes of the settings of a link, from the kernel's uapi.
const (
	netconfmsg           = 4 // its length, with what follows aligned
	netconfIndex         = 1
	netconfForwarding    = 2
	netconfForceForwards = 9 // of IPv6, since Linux 6.17
)

// unforwarding is the index in a message that says that a link, or all, forward
// nothing of a protocol; 0 in another.
func unforwarding(message netlink.Message) (index int) {
	off := false
	for _, a := range attributes(message, netconfmsg) {
		if len(a.Data) != 4 {
			continue
		}
		switch value := int32(binary.NativeEndian.Uint32(a.Data)); a.Type {
		case netconfIndex:
			index = int(value)
		case netconfForwarding, netconfForceForwards:
			off = off || value == 0
		}
	}
	if !off || index < AllLinks { // what links get that come later
		return 0
	}
	return index
}
