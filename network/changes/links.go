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
	// Routed is where a route of the main table leads that came or went; the zero
	// Prefix when none did.
	Routed netip.Prefix
	// Unforwarding is the index of a link that does not, or may not, forward, as new ones
	// do; AllLinks stands for every link, and 0 for none.
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
			switch to, table := route(message); table {
			case unix.RT_TABLE_LOCAL:
				change.Heard = to
			case unix.RT_TABLE_MAIN:
				change.Routed = to
			}
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

// route is where a route leads, and the table that it is in. The local table says
// where the host hears. The zero Prefix is for multicast, of which that has much.
func route(message netlink.Message) (to netip.Prefix, table byte) {
	const familyAt, lengthAt, tableAt, typeAt = 0, 1, 4, 7
	about := attributes(message, unix.SizeofRtMsg)
	if about == nil || message.Data[typeAt] == unix.RTN_MULTICAST {
		return netip.Prefix{}, 0
	}
	addr := netip.IPv4Unspecified() // a default route does not say it
	if message.Data[familyAt] == unix.AF_INET6 {
		addr = netip.IPv6Unspecified()
	}
	for _, a := range about {
		if said, ok := netip.AddrFromSlice(a.Data); ok && a.Type == unix.RTA_DST {
			addr = said
		}
	}
	return netip.PrefixFrom(addr, int(message.Data[lengthAt])), message.Data[tableAt]
}

// Attributes of the settings of a link, from the kernel's uapi.
const (
	netconfmsg           = 4 // its length, with what follows aligned
	netconfIndex         = 1
	netconfForwarding    = 2
	netconfForceForwards = 9 // of IPv6, since Linux 6.17
)

// unforwarding is the index in a message that says that a link, or all, forward
// nothing of a protocol, or that something changed of which Linux 6.18 does not say
// what, as it does of force_forwarding; 0 in another.
func unforwarding(message netlink.Message) (index int) {
	settings, off := 0, false // the index is one
	for _, a := range attributes(message, netconfmsg) {
		if len(a.Data) != 4 {
			continue
		}
		value := int32(binary.NativeEndian.Uint32(a.Data))
		switch settings++; a.Type {
		case netconfIndex:
			index = int(value)
		case netconfForwarding, netconfForceForwards:
			off = off || value == 0
		}
	}
	if !off && settings > 1 || index < AllLinks { // what links get that come later
		return 0
	}
	return index
}
