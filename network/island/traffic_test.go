//go:build linux

package island

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

func TestHostReachesTheGuest(t *testing.T) {
	newInternet(t)
	lease := acquire(t, openIsland(t, testOptions(t, "p")), "p-aaaaaaaa")
	newGuest(t, lease)
	requireReaches(t, hostNamespace, lease.Address.String()+":22", "10.86.0.1")
}

func TestGuestReachesTheInternetAsTheHost(t *testing.T) {
	internet := newInternet(t)
	serve(t, internet, public+":80")
	guest := newGuest(t, acquire(t, openIsland(t, testOptions(t, "p")), "p-aaaaaaaa"))
	requireReaches(t, guest, public+":80", hostWAN)
}

func TestGuestAsksItsGatewayAndTheResolverAnswers(t *testing.T) {
	internet := newInternet(t)
	serve(t, internet, resolver+":53")
	guest := newGuest(t, acquire(t, openIsland(t, testOptions(t, "p")), "p-aaaaaaaa"))
	requireReaches(t, guest, network.Gateway.String()+":53", hostWAN)
	requireNoWay(t, guest, resolver+":53")
}

// A dnsmasq on the LAN address of the host, say.
func TestGuestAsksItsGatewayAndTheHostItselfAnswers(t *testing.T) {
	newInternet(t)
	serve(t, hostNamespace, hostWAN+":53")
	serve(t, hostNamespace, hostWAN+":80")
	options := testOptions(t, "p")
	options.DNS = []netip.Addr{netip.MustParseAddr(hostWAN)}
	lease := acquire(t, openIsland(t, options), "p-aaaaaaaa")
	guest := newGuest(t, lease)
	requireReaches(t, guest, network.Gateway.String()+":53", lease.Address.String())
	requireNoWay(t, guest, hostWAN+":80")
}

func TestEmptyDNSMeansTheHostsOwn(t *testing.T) {
	requireHost(t)
	options := testOptions(t, "p")
	options.DNS = []netip.Addr{}
	island, err := New(options)
	require.NoError(t, err)
	require.Equal(t, hostResolvers(resolvConfs), island.resolvers())
}

func TestGuestReachesNothingPrivate(t *testing.T) {
	internet := newInternet(t)
	serve(t, internet, resolver+":80")
	serve(t, hostNamespace, "0.0.0.0:80")
	island := openIsland(t, testOptions(t, "p"))
	lease, other := acquire(t, island, "p-aaaaaaaa"), acquire(t, island, "p-bbbbbbbb")
	guest := newGuest(t, lease)
	newGuest(t, other)
	requireReaches(t, hostNamespace, resolver+":80", hostWAN)
	requireReaches(t, hostNamespace, other.Address.String()+":22", "10.86.0.1")

	requireNoWay(t, guest, resolver+":80")
	requireNoWay(t, guest, other.Address.String()+":22")
	requireDropped(t, lease.Namespace, "@deny")
	requireNoWay(t, guest, hostWAN+":80")
	requireDropped(t, lease.Namespace, "@host")
	requireNoWay(t, guest, network.Gateway.String()+":80")
	requireDropped(t, lease.Namespace, `iifname "tap0" counter`)
}

func TestAllowListOpensPrivateNetworksButNeitherHostNorWorkers(t *testing.T) {
	internet := newInternet(t)
	serve(t, internet, resolver+":80")
	serve(t, hostNamespace, "0.0.0.0:80")
	options := testOptions(t, "p")
	options.Allow = []network.Destination{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}
	island := openIsland(t, options)
	lease := acquire(t, island, "p-aaaaaaaa")
	guest := newGuest(t, lease)
	other := acquire(t, island, "p-bbbbbbbb")
	newGuest(t, other)

	requireReaches(t, guest, resolver+":80", hostWAN)
	requireNoWay(t, guest, other.Address.String()+":22")
	requireDropped(t, lease.Namespace, "ip daddr "+subnet)
	requireNoWay(t, guest, "10.86.0.1:80")
}

func TestGuestLeavesOnlyByTheEgressInterface(t *testing.T) {
	internet := newInternet(t)
	serve(t, internet, public+":80")
	office := newNeighbour(t, "office", "lan0", "192.0.2.1", "192.0.2.2")
	serve(t, office, "192.0.2.2:80")
	options := testOptions(t, "p")
	options.Egress = "wan0"
	guest := newGuest(t, acquire(t, openIsland(t, options), "p-aaaaaaaa"))

	requireReaches(t, hostNamespace, "192.0.2.2:80", "192.0.2.1")
	requireReaches(t, guest, public+":80", hostWAN)
	requireNoWay(t, guest, "192.0.2.2:80")
	requireDropped(t, hostNamespace, `oifname != "wan0"`)
}

func TestOutsideOpensNoConnectionToAWorker(t *testing.T) {
	internet := newInternet(t)
	lease := acquire(t, openIsland(t, testOptions(t, "p")), "p-aaaaaaaa")
	newGuest(t, lease)
	require.NoError(t, Do(internet, func() error {
		return netlink.RouteAdd(&netlink.Route{
			Dst: ipNet(single(lease.Address)), Gw: net.ParseIP(hostWAN),
		})
	}))
	requireNoWay(t, internet, lease.Address.String()+":22")
	requireDropped(t, hostNamespace, "ct state")
}

func TestSpoofedSourcesGoNowhere(t *testing.T) {
	for name, containers := range map[string]bool{"virtual machine": false, "container": true} {
		t.Run(name, func(t *testing.T) { testSpoofedSources(t, containers) })
	}
}

func testSpoofedSources(t *testing.T, containers bool) {
	internet := newInternet(t)
	serve(t, internet, public+":80")
	options := testOptions(t, "p")
	options.Containers = containers
	island := openIsland(t, options)
	lease := acquire(t, island, "p-aaaaaaaa")
	guest := newGuest(t, lease)
	requireReaches(t, guest, public+":80", hostWAN)

	t.Run("address", func(t *testing.T) {
		addAddress(t, guest, "eth0", "198.51.100.99/32")
		require.NoError(t, Do(guest, func() error { return sendFrom("198.51.100.99", public+":80") }))
		requireDropped(t, lease.Namespace, "ip saddr != 198.18.0.2")
	})
	t.Run("address, when the namespace's rules are gone", func(t *testing.T) {
		require.NoError(t, Do(lease.Namespace, func() error { return firewall.Remove("mayfly") }))
		requireNoWay(t, guest, public+":80")
		requireDropped(t, hostNamespace, "ip saddr != "+subnet)
	})
	t.Run("MAC", func(t *testing.T) {
		require.NoError(t, Do(lease.Namespace, func() error { return firewall.Apply(firewall.Namespace(firewall.Policy{FromHost: island.gateway})) }))
		require.NoError(t, Do(guest, func() error {
			eth := configure("eth0")
			eth.mac("02:00:00:00:00:99")
			return eth.err
		}))
		requireNoWay(t, guest, public+":80")
		requireDropped(t, lease.Namespace, "ether saddr")
	})
}

func sendFrom(source, destination string) error {
	dialer := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(source)}}
	conn, err := dialer.Dial("udp4", destination)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte("it was not me"))
	return err
}

func TestTAPAndUplinkHaveTheMTUOfTheEgress(t *testing.T) {
	newInternet(t)
	options := testOptions(t, "p")
	options.Containers = true
	lease := acquire(t, openIsland(t, options), "p-aaaaaaaa")
	require.NoError(t, Do(lease.Namespace, func() error {
		for _, name := range []string{network.TAP, network.Peer, firewall.Uplink} {
			link, err := linkByName(name)
			require.NoError(t, err)
			require.Equal(t, 1400, link.Attrs().MTU, name)
		}
		return nil
	}))
}

// requireForwarding compares what forwards: the host as a whole, or a link.
func requireForwarding(t *testing.T, want bool, path ...string) {
	t.Helper()
	got, err := isSet(path...)
	require.NoError(t, err)
	require.Equal(t, want, got, path)
}

func TestOnlyTheLinksNeededForward(t *testing.T) {
	newInternet(t)
	newNeighbour(t, "office", "lan0", "192.0.2.1", "192.0.2.2")
	acquire(t, openIsland(t, testOptions(t, "p")), "p-aaaaaaaa")
	requireForwarding(t, false, "ip_forward")
	requireForwarding(t, true, "conf", "wan0", "forwarding")
	requireForwarding(t, false, "conf", "lan0", "forwarding")
}

func TestForwardingEndsWithTheLastLeaseOfAllPools(t *testing.T) {
	newInternet(t)
	first, second := openIsland(t, testOptions(t, "p")), openIsland(t, testOptions(t, "q"))
	acquire(t, first, "p-aaaaaaaa")
	acquire(t, second, "q-aaaaaaaa")
	require.NoError(t, first.Release(t.Context(), "p-aaaaaaaa"))
	require.NoError(t, first.Close(t.Context()))
	requireForwarding(t, true, "conf", "wan0", "forwarding")

	// A process that was killed left the note to whoever closes the pool.
	require.NoError(t, second.Release(t.Context(), "q-aaaaaaaa"))
	again, err := New(second.options)
	require.NoError(t, err)
	require.NoError(t, again.Close(t.Context()))
	requireForwarding(t, false, "conf", "wan0", "forwarding")
}

func TestForwardingThatIsNotOursStaysOn(t *testing.T) {
	for name, switchOn := range map[string]struct{ before, meanwhile func() error }{
		"on before":              {before: func() error { return forward(t.Context(), "wan0") }},
		"a router by the global": {meanwhile: routing},
	} {
		t.Run(name, func(t *testing.T) {
			newInternet(t)
			t.Cleanup(func() { require.NoError(t, setSysctl("0", "ipv4", "ip_forward")) })
			island := openIsland(t, testOptions(t, "p"))
			if switchOn.before != nil {
				require.NoError(t, switchOn.before())
			}
			acquire(t, island, "p-aaaaaaaa")
			if switchOn.meanwhile != nil {
				require.NoError(t, switchOn.meanwhile())
			}
			require.NoError(t, island.Release(t.Context(), "p-aaaaaaaa"))
			require.NoError(t, island.Close(t.Context()))
			requireForwarding(t, true, "conf", "wan0", "forwarding")
		})
	}
}

// The host sends workers out by another table, whose link is the one that they may
// leave by.
func TestPolicyRoutingLeadsWorkersOut(t *testing.T) {
	const elsewhere, elsewhere6, host, host6 = "198.51.100.8", "2001:db8::8", "192.0.2.2", "2001:db8:2::2"
	for by, rule := range map[string]string{"mark": "fwmark 7", "source": "from %s"} {
		t.Run(by, func(t *testing.T) {
			newInternet(t)
			other := newNeighbour(t, "other", "wan1", host, "192.0.2.1")
			addAddresses(t, other, "lo", elsewhere+"/32", elsewhere6+"/128")
			addAddresses(t, other, "up0", "2001:db8:2::1/64")
			addAddresses(t, hostNamespace, "wan1", host6+"/64")
			require.NoError(t, setSysctl("0", "ipv4", "conf", "wan1", "rp_filter"))
			serve(t, other, elsewhere+":80")
			serve(t, other, "["+elsewhere6+"]:80")
			for protocol, from := range map[string]string{"-4": subnet, "-6": translated.String()} {
				rule := protocol + " rule %s " + strings.ReplaceAll(rule, "%s", from) + " table 100"
				shell(t, "ip "+strings.Replace(rule, "%s", "add", 1))
				t.Cleanup(func() { shell(t, "ip "+strings.Replace(rule, "%s", "del", 1)) })
			}
			shell(t, "ip route add default via 192.0.2.1 table 100")
			shell(t, "ip -6 route add default via 2001:db8:2::1 table 100")
			shell(t, `nft 'add table inet marking;
				add chain inet marking pre { type filter hook prerouting priority mangle; };
				add rule inet marking pre iifname "mf*" meta mark set 7'`)
			t.Cleanup(func() { shell(t, "nft delete table inet marking") })

			options := testOptions(t, "p")
			options.IPv6.On, options.Egress = true, "wan1"
			guest := newGuest(t, acquire(t, openIsland(t, options), "p-aaaaaaaa"))
			giveIPv6(t, guest)
			require.Equal(t, host, seenAs(t, guest, elsewhere+":80"))
			require.Equal(t, host6, seenAs(t, guest, "["+elsewhere6+"]:80"))
		})
	}
}
