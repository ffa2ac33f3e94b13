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

// hangUp ends the host's own connections to a worker that is gone, such as a
// job's SSH session. Nobody else would: the kernel tries for a quarter of an
// hour whether an answer comes (tcp_retries2, see tcp(7)), and the runner waits
// with it. A kernel that cannot (CONFIG_INET_DIAG_DESTROY) leaves it at that.
func (i *Island) hangUp(worker string, held []netip.Addr) {
	if len(held) == 0 {
		return
	}
	err := hangUpOn(held)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		i.log.Warn("the host's connections to a worker that is gone stay open", "worker", worker, "err", err)
	}
}

func hangUpOn(gone []netip.Addr) error {
	sockets, err := netlinkdump.SocketDiagTCP(unix.AF_INET)
	if err != nil {
		return err
	}
	var errs []error
	for _, socket := range sockets {
		to, _ := netip.AddrFromSlice(socket.ID.Destination)
		if !slices.Contains(gone, to.Unmap()) {
			continue
		}
		local := &net.TCPAddr{IP: socket.ID.Source, Port: int(socket.ID.SourcePort)}
		remote := &net.TCPAddr{IP: socket.ID.Destination, Port: int(socket.ID.DestinationPort)}
		if err := netlink.SocketDestroy(local, remote); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("ending the connection from %s to %s: %w", local, remote, err))
		}
	}
	return errors.Join(errs...)
}
