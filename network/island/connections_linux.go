package island

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// endConnections has the host forget the connections that a worker has opened
// through it from its addresses. Left alone, an address given to the next worker
// would come with them: with answers that this one never asked for, and, for
// days, with the room that they take in a table that all share.
func (i *Island) endConnections(worker string, held []netip.Addr) {
	for _, addr := range held {
		for _, outside := range i.outside(addr) {
			if err := endConnectionsOf(outside); err != nil {
				i.log.Warn("connections of a worker that is gone stay with the host", "worker", worker, "address", outside, "err", err)
			}
		}
	}
}

func endConnectionsOf(addr netip.Addr) error {
	family := netlink.InetFamily(unix.AF_INET)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	filter := &netlink.ConntrackFilter{}
	if err := filter.AddIP(netlink.ConntrackOrigSrcIP, addr.AsSlice()); err != nil {
		return fmt.Errorf("looking for connections of %s: %w", addr, err)
	}
	if err := netlinkdump.ConntrackDeleteFilter(netlink.ConntrackTable, family, filter); err != nil {
		return fmt.Errorf("ending connections of %s: %w", addr, err)
	}
	return nil
}
