//go:build linux

package island

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The index is asked for in the one way that waits for nobody who changes
// links meanwhile.
func TestRemovedLinkIsGone(t *testing.T) {
	requireHost(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	for i := range 20 {
		name := fmt.Sprint("gone", i)
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: name})
		veth.PeerName = name + "peer"
		require.NoError(t, netlink.LinkAdd(veth))
		request, err := unix.NewIfreq(name)
		require.NoError(t, err)
		require.NoError(t, unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request))

		require.NoError(t, removeLink(name))
		require.ErrorIs(t, unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request), unix.ENODEV)
		require.NoError(t, removeLink(name), "it is removed already")
	}
}
