//go:build linux

package island

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// endConnections ends what is left on the host of the connections of a worker
// that is gone, by its addresses: what it opened through the host, and what the
// host itself opened to it. It only logs what fails.
func (i *Island) endConnections(worker string, gone []netip.Addr) {
	var errs []error
	for _, addr := range gone {
		for _, outside := range i.outside(addr) {
			errs = append(errs, forgetConnections(outside))
		}
	}
	if len(gone) > 0 {
		errs = append(errs, destroySockets(gone))
	}
	if err := errors.Join(errs...); err != nil {
		i.log.Warn("connections of a worker that is gone stay with the host", "worker", worker, "err", err)
	}
}

// forgetConnections has the kernel forget the connections that were opened from
// an address. Left alone, the address given to the next worker would come with
// them: with answers that this one never asked for, and, for days, with the room
// that they take in a table that all share.
func forgetConnections(addr netip.Addr) error {
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

// destroySockets ends the host's own connections to addresses, such as a job's
// SSH session. Left alone, the kernel would wait a quarter of an hour for an answer
// (tcp_retries2, see tcp(7)), and the runner with it. A kernel that cannot do it
// (CONFIG_INET_DIAG_DESTROY) leaves them open.
func destroySockets(to []netip.Addr) error {
	sockets, err := netlinkdump.SocketDiagTCP(unix.AF_INET)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, socket := range sockets {
		addr, _ := netip.AddrFromSlice(socket.ID.Destination)
		if !slices.Contains(to, addr.Unmap()) {
			continue
		}
		local := &net.TCPAddr{IP: socket.ID.Source, Port: int(socket.ID.SourcePort)}
		remote := &net.TCPAddr{IP: socket.ID.Destination, Port: int(socket.ID.DestinationPort)}
		err := netlink.SocketDestroy(local, remote)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EOPNOTSUPP) {
			errs = append(errs, fmt.Errorf("ending the connection from %s to %s: %w", local, remote, err))
		}
	}
	return errors.Join(errs...)
}
