//go:build linux

package agent

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// newGuestLink puts the test into a network namespace with the device that every
// guest has.
func newGuestLink(t *testing.T) (name string) {
	t.Helper()
	sandbox.EmptyNamespace(t)
	mac, err := net.ParseMAC(network.GuestMAC)
	require.NoError(t, err)
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: "ens3", TxQLen: 1000, HardwareAddr: mac})
	veth.PeerName = "host"
	require.NoError(t, netlink.LinkAdd(veth))
	peer, err := netlink.LinkByName("host")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(peer))
	return "ens3"
}

// has returns the addresses of a link, without those that it gives itself, and
// the gateways of the default routes.
func has(t *testing.T, name string, family int) (addresses, gateways []string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	require.NoError(t, err)
	found, err := netlinkdump.AddrList(link, family)
	require.NoError(t, err)
	for _, a := range found {
		if !a.IP.IsLinkLocalUnicast() {
			addresses = append(addresses, a.IPNet.String())
		}
	}
	routes, err := netlinkdump.RouteList(link, family)
	require.NoError(t, err)
	for _, r := range routes {
		if r.Gw != nil {
			gateways = append(gateways, r.Gw.String())
		}
	}
	return addresses, gateways
}

func TestFitNetworkGivesMTUAndIPv6(t *testing.T) {
	name := newGuestLink(t)
	require.NoError(t, linux{}.SetUpNetwork())
	for range 2 {
		require.NoError(t, linux{}.FitNetwork(guest.Link{MTU: 1400, IPv6: true}))
	}
	link, err := netlink.LinkByName(name)
	require.NoError(t, err)
	require.Equal(t, 1400, link.Attrs().MTU)
	addresses, gateways := has(t, name, netlink.FAMILY_V6)
	require.Equal(t, []string{network.Guest6.String()}, addresses)
	require.Equal(t, []string{network.Gateway6.String()}, gateways)
	addresses, gateways = has(t, name, netlink.FAMILY_V4)
	require.Equal(t, []string{network.Guest.String()}, addresses)
	require.Equal(t, []string{network.Gateway.String()}, gateways)
}

func TestFitNetworkTakesBackWhatAnotherLinkHad(t *testing.T) {
	name := newGuestLink(t)
	require.NoError(t, linux{}.SetUpNetwork())
	require.NoError(t, linux{}.FitNetwork(guest.Link{MTU: 1400, IPv6: true}))
	require.NoError(t, linux{}.FitNetwork(guest.Link{}))
	link, err := netlink.LinkByName(name)
	require.NoError(t, err)
	require.Equal(t, network.UsualMTU, link.Attrs().MTU)
	addresses, gateways := has(t, name, netlink.FAMILY_V6)
	require.Empty(t, addresses)
	require.Empty(t, gateways)
	addresses, _ = has(t, name, netlink.FAMILY_V4)
	require.Equal(t, []string{network.Guest.String()}, addresses)
}
