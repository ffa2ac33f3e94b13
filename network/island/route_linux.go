package island

import (
	"cmp"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// nobody are addresses that no host has and none routes but by default: the
// dummy address of RFC 7600, and one that is to be discarded (RFC 6666).
var nobody = map[int]net.IP{netlink.FAMILY_V4: net.ParseIP("192.0.0.8"), netlink.FAMILY_V6: net.ParseIP("100::1")}

// defaultRoute returns the preferred one of the main table, nil without one.
// The kernel is asked for it alone first, since the host has routes to every
// worker as well; its answer counts if no rule of policy routing made it.
func defaultRoute(family int) (*netlink.Route, error) {
	used, err := netlink.RouteGetWithOptions(nobody[family], &netlink.RouteGetOptions{FIBMatch: true})
	if err == nil && len(used) == 1 && isDefault(used[0]) && used[0].Table == unix.RT_TABLE_MAIN {
		return &used[0], nil
	}
	routes, err := listDefaultRoutes(family)
	if err != nil || len(routes) == 0 {
		return nil, err
	}
	best := slices.MinFunc(routes, func(a, b netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })
	return &best, nil
}
