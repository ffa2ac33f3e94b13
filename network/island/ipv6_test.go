//go:build linux

package island

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

const routed = "2001:db8:77::/64"

// newInternet6 is an internet with IPv6, to the host's default route.
func newInternet6(t *testing.T) (namespace string) {
	internet := newInternet(t)
	addAddresses(t, internet, "lo", public6+"/128")
	addAddresses(t, internet, "up0", isp6+"/64")
	addAddresses(t, hostNamespace, "wan0", hostWAN6+"/64")
	routeBy(t, hostNamespace, "wan0", isp6)
	return internet
}

func seenAs(t *testing.T, from, address string) string {
	t.Helper()
	tcp, err := ask(from, "tcp", address, patience)
	require.NoError(t, err)
	udp, err := ask(from, "udp", address, patience)
	require.NoError(t, err)
	require.Equal(t, tcp, udp)
	return tcp
}

func TestIPv6LeavesAsTheHostOrAsThePrefix(t *testing.T) {
	for name, test := range map[string]struct{ prefix, want string }{
		"translated": {"", hostWAN6},
		"routed":     {routed, "2001:db8:77::a56:2"},
	} {
		t.Run(name, func(t *testing.T) {
			internet := newInternet6(t)
			require.NoError(t, Do(internet, func() error {
				return netlink.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix(routed)), Gw: net.ParseIP(hostWAN6)})
			}))
			serve(t, internet, "["+public6+"]:80")
			options := testOptions(t, "p")
			options.IPv6.On = true
			if test.prefix != "" {
				options.IPv6.Prefix = netip.MustParsePrefix(test.prefix)
			}
			guest := newGuest(t, acquire(t, openIsland(t, options), "p-aaaaaaaa"))
			giveIPv6(t, guest)
			require.Equal(t, test.want, seenAs(t, guest, "["+public6+"]:80"))
		})
	}
}

func TestIPv6SpoofedSourcesGoNowhere(t *testing.T) {
	internet := newInternet6(t)
	serve(t, internet, "["+public6+"]:80")
	options := testOptions(t, "p")
	options.IPv6.On = true
	lease := acquire(t, openIsland(t, options), "p-aaaaaaaa")
	guest := newGuest(t, lease)
	addAddresses(t, guest, "eth0", "2001:db8:bad::99/128")
	require.NoError(t, Do(guest, func() error {
		link, err := linkByName("eth0")
		require.NoError(t, err)
		return netlink.RouteAdd(&netlink.Route{
			LinkIndex: link.Attrs().Index, Gw: net.ParseIP(network.Gateway6.String()), Flags: int(netlink.FLAG_ONLINK),
		})
	}))
	neighbour := configureIn(t, guest, "eth0")
	require.NoError(t, Do(guest, func() error {
		neighbour.neighbour(network.Gateway6, network.GatewayMAC)
		return neighbour.err
	}))
	_, err := ask(guest, "udp", "["+public6+"]:80", impatience)
	require.Error(t, err)
	requireDropped(t, lease.Namespace, "ip6 saddr != "+network.Guest6.Addr().String()+" counter")
	t.Run("when the namespace's rules are gone", func(t *testing.T) {
		require.NoError(t, Do(lease.Namespace, func() error { return firewall.Remove(firewall.NamespaceTable) }))
		_, err := ask(guest, "udp", "["+public6+"]:80", impatience)
		require.Error(t, err)
		requireDropped(t, hostNamespace, "ip6 saddr != "+translated.String())
	})
}

func configureIn(t *testing.T, namespace, link string) (c *configuration) {
	t.Helper()
	require.NoError(t, Do(namespace, func() error {
		c = configure(link)
		return c.err
	}))
	return c
}

// TestWithoutIPv6ThereIsNone gives a guest all that it would need.
func TestWithoutIPv6ThereIsNone(t *testing.T) {
	internet := newInternet6(t)
	serve(t, internet, "["+public6+"]:80")
	island := openIsland(t, testOptions(t, "p"))
	lease := acquire(t, island, "p-aaaaaaaa")
	guest := newGuest(t, lease)
	giveIPv6(t, guest)
	_, err := ask(guest, "tcp", "["+public6+"]:80", impatience)
	require.True(t, unheard(err), err)
	for _, to := range []netip.Addr{network.Gateway6, netip.MustParseAddr("ff02::2%2")} {
		err := ping(guest, to, impatience)
		require.True(t, unheard(err), "%s: %v", to, err)
	}
	for _, namespace := range []string{lease.Namespace, hostNamespace} {
		require.NoError(t, Do(namespace, func() error {
			for _, name := range []string{network.TAP, firewall.Uplink, "mf" + island.scope + "aaaaaaaa"} {
				link, err := netlink.LinkByName(name)
				if err != nil {
					continue // it is in the other one
				}
				addresses, err := netlinkdump.AddrList(link, netlink.FAMILY_V6)
				require.NoError(t, err)
				require.Empty(t, addresses, name)
			}
			return nil
		}))
	}
}

// TestRouterKeepsBelievingAdvertisements is for kernels that cannot forward for
// one link alone.
func TestRouterKeepsBelievingAdvertisements(t *testing.T) {
	requireHost(t)
	namespace := newNamespace(t, "router")
	require.NoError(t, Do(namespace, func() error {
		require.NoError(t, setSysctl("1", "ipv6", "conf", "lo", "accept_ra"))
		require.NoError(t, setSysctl("0", "ipv6", "conf", "default", "accept_ra"))
		require.NoError(t, routing6())
		require.NoError(t, routing6())
		for link, want := range map[string]string{"lo": acceptAlways, "default": "0"} {
			got, err := readSysctl("ipv6", "conf", link, "accept_ra")
			require.NoError(t, err)
			require.Equal(t, want, got, link)
		}
		on, err := readSysctl("ipv6", "conf", "all", "forwarding")
		require.Equal(t, "1", on)
		return err
	}))
}

// A guest's kernel looks for its gateway again from time to time, under a name
// that is good on its own link only. It gets by without an answer, and a job that
// did nothing must not be counted for it.
func TestLookingForTheGatewayIsNotCountedAsDenied(t *testing.T) {
	internet := newInternet6(t)
	serve(t, internet, "["+public6+"]:80")
	options := testOptions(t, "p")
	options.IPv6.On = true
	island := openIsland(t, options)
	lease := acquire(t, island, "p-aaaaaaaa")
	guest := newGuest(t, lease)
	giveIPv6(t, guest)
	require.Equal(t, hostWAN6, seenAs(t, guest, "["+public6+"]:80"))
	require.NoError(t, Do(guest, func() error {
		link, err := linkByName("eth0")
		require.NoError(t, err)
		mac, err := net.ParseMAC(network.GatewayMAC)
		require.NoError(t, err)
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, Family: netlink.FAMILY_V6, State: netlink.NUD_PROBE,
			IP: network.Gateway6.AsSlice(), HardwareAddr: mac,
		})
	}))
	requireDropped(t, lease.Namespace, "ip6 saddr fe80::/10")
	require.Equal(t, hostWAN6, seenAs(t, guest, "["+public6+"]:80"))
	denied, err := island.Denied(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]uint64{"p-aaaaaaaa": 0}, denied)
}
