package island

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// makeTAP makes a tap device that outlives us, in the calling thread's network
// namespace. It has no owner, so that a machine needs no privilege to attach:
// being in the namespace is what lets it.
func makeTAP(name string) (err error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()

	request, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("naming tap device %s: %w", name, err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("making tap device %s: %w", name, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("keeping tap device %s: %w", name, err)
	}
	return nil
}
