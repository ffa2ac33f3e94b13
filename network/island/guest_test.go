//go:build linux

package island

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// newGuest plays the machine of a lease: a namespace with the guest's address
// and a device whose frames go to the lease's tap and back, as a virtual
// machine monitor carries them; or the tap's other end itself, where the lease
// is one for containers. An SSH server of sorts is in it.
func newGuest(t testing.TB, lease network.Lease) (namespace string) {
	namespace = newNamespace(t, "guest-"+lease.Worker)
	carry := func() {}
	if !takePeer(t, lease.Namespace, namespace) {
		inner := openTAP(t, namespace, "eth0")
		outer := openTAP(t, lease.Namespace, network.TAP)
		carry = func() {
			go io.Copy(inner, outer)
			go io.Copy(outer, inner)
		}
	}

	require.NoError(t, Do(namespace, func() error {
		eth := configure("eth0")
		eth.mac(network.GuestMAC)
		eth.mtu(wanMTU)
		eth.address(network.Guest)
		eth.up()
		eth.defaultRoute(network.Gateway)
		return eth.err
	}))
	carry() // not before the device is up: it refuses frames then, which ends the copying
	serve(t, namespace, "0.0.0.0:22")
	return namespace
}

// takePeer does what a container's supervisor does with the lease's link.
func takePeer(t testing.TB, from, to string) (taken bool) {
	t.Helper()
	ns, err := netns.GetFromPath(to)
	require.NoError(t, err)
	defer ns.Close()
	require.NoError(t, Do(from, func() error {
		peer, err := netlink.LinkByName(network.Peer)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		taken = true
		return errors.Join(err, netlink.LinkSetNsFd(peer, int(ns)))
	}))
	return taken
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
