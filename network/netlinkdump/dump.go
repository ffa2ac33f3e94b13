//go:build linux

package netlinkdump

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// attempts bounds how often a list is asked for.
const attempts = 10

// LinkList returns the links of the calling thread's network namespace.
func LinkList() ([]netlink.Link, error) {
	return repeat("links", netlink.LinkList)
}

// AddrList returns the addresses of a link, or of all when it is nil.
func AddrList(link netlink.Link, family int) ([]netlink.Addr, error) {
	return repeat("addresses", func() ([]netlink.Addr, error) { return netlink.AddrList(link, family) })
}

// RouteList returns the routes of the main table by a link, or by all when it
// is nil.
func RouteList(link netlink.Link, family int) ([]netlink.Route, error) {
	return repeat("routes", func() ([]netlink.Route, error) { return netlink.RouteList(link, family) })
}

// LocalRouteList returns the routes of the local table, which say where the host
// itself hears what is sent.
func LocalRouteList(family int) ([]netlink.Route, error) {
	return repeat("local routes", func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
	})
}

// NeighList returns the neighbours on the link with an index, or on all when it
// is 0.
func NeighList(index, family int) ([]netlink.Neigh, error) {
	return repeat("neighbours", func() ([]netlink.Neigh, error) { return netlink.NeighList(index, family) })
}

// ConntrackTableList returns the connections that the kernel tracks.
func ConntrackTableList(table netlink.ConntrackTableType, family netlink.InetFamily) ([]*netlink.ConntrackFlow, error) {
	return repeat("tracked connections", func() ([]*netlink.ConntrackFlow, error) {
		return netlink.ConntrackTableList(table, family)
	})
}

// ConntrackDeleteFilter has the kernel forget the tracked connections that the
// filter matches, which it has to list for that.
func ConntrackDeleteFilter(
	table netlink.ConntrackTableType, family netlink.InetFamily, filter netlink.CustomConntrackFilter,
) error {
	_, err := repeat("tracked connections", func() (uint, error) {
		return netlink.ConntrackDeleteFilters(table, family, filter)
	})
	return err
}

// SocketDiagTCP returns the TCP sockets.
func SocketDiagTCP(family uint8) ([]*netlink.Socket, error) {
	return repeat("TCP sockets", func() ([]*netlink.Socket, error) { return netlink.SocketDiagTCP(family) })
}

// repeat lists until no change interrupts it.
func repeat[T any](what string, list func() (T, error)) (T, error) {
	var err error
	for range attempts {
		var items T
		if items, err = list(); err == nil {
			return items, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return *new(T), fmt.Errorf("listing %s: %w", what, err)
}
