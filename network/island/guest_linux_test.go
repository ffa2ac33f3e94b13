package island

import (
	"io"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// newGuest plays the machine of a lease: a namespace with the guest's address
// and a device whose frames go to the lease's tap and back, as a virtual
// machine monitor carries them. An SSH server of sorts is in it.
func newGuest(t testing.TB, lease network.Lease) (namespace string) {
	namespace = newNamespace(t, "guest-"+lease.Worker)
	inner := openTAP(t, namespace, "eth0")
	outer := openTAP(t, lease.Namespace, network.TAP)
	go io.Copy(inner, outer)
	go io.Copy(outer, inner)

	require.NoError(t, Do(namespace, func() error {
		eth := configure("eth0")
		eth.mac(network.GuestMAC)
		eth.address(network.Guest)
		eth.up()
		eth.defaultRoute(network.Gateway)
		return eth.err
	}))
	serve(t, namespace, "0.0.0.0:22")
	return namespace
}

// openTAP attaches to a tap device as a machine does, and makes it when there
// is none. io.Copy carries whole frames: a tap's read returns one, and its
// buffer holds the largest.
func openTAP(t testing.TB, namespace, name string) *os.File {
	var fd int
	require.NoError(t, Do(namespace, func() (err error) {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return err
		}
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}))
	tap := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { tap.Close() })
	return tap
}

func addAddress(t *testing.T, namespace, link, address string) {
	require.NoError(t, Do(namespace, func() error {
		c := configure(link)
		c.address(netip.MustParsePrefix(address))
		return c.err
	}))
}
