//go:build linux

package island

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// connectionsOf counts what the host knows of connections that an address has
// opened.
func connectionsOf(t *testing.T, addr netip.Addr) (n int) {
	t.Helper()
	flows, err := netlinkdump.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	require.NoError(t, err)
	for _, f := range flows {
		if f.Forward.SrcIP.Equal(addr.AsSlice()) {
			n++
		}
	}
	return n
}

func TestConnectionsEndWithTheirWorker(t *testing.T) {
	internet := newInternet(t)
	serve(t, internet, public+":80")
	island := openIsland(t, testOptions(t, "p"))
	lease, other := acquire(t, island, "p-aaaaaaaa"), acquire(t, island, "p-bbbbbbbb")
	requireReaches(t, newGuest(t, lease), public+":80", hostWAN)
	requireReaches(t, newGuest(t, other), public+":80", hostWAN)
	require.Equal(t, 2, connectionsOf(t, lease.Address))

	require.NoError(t, island.Release(t.Context(), "p-aaaaaaaa"))
	require.Zero(t, connectionsOf(t, lease.Address))
	require.Equal(t, 2, connectionsOf(t, other.Address))
}

// A guest that is killed says no goodbye, and the host's side of a job would wait
// for its answer long after the machine is gone.
func TestTheHostHangsUpOnAWorkerThatIsGone(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	lease, other := acquire(t, island, "p-aaaaaaaa"), acquire(t, island, "p-bbbbbbbb")
	dial := func(lease network.Lease) net.Conn {
		listen(t, newGuest(t, lease), "0.0.0.0:2222")
		conn, err := net.DialTimeout("tcp", lease.Address.String()+":2222", patience)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	gone, stays := dial(lease), dial(other)

	require.NoError(t, island.Release(t.Context(), "p-aaaaaaaa"))
	require.NoError(t, gone.SetReadDeadline(time.Now().Add(patience)))
	_, err := gone.Read(make([]byte, 1))
	require.ErrorIs(t, err, unix.ECONNABORTED)
	require.NoError(t, stays.SetReadDeadline(time.Now().Add(impatience)))
	_, err = stays.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// A worker holds addresses, too, that its pool took and found to be another's, in
// whose address book it does not look.
func TestConnectionsOfOtherPoolsStay(t *testing.T) {
	internet := newInternet(t)
	serve(t, internet, public+":80")
	first, second := openIsland(t, testOptions(t, "p")), openIsland(t, testOptions(t, "q"))
	lease := acquire(t, first, "p-aaaaaaaa")
	guest := newGuest(t, lease)
	requireReaches(t, guest, public+":80", hostWAN)
	listen(t, guest, "0.0.0.0:2222")
	job, err := net.DialTimeout("tcp", lease.Address.String()+":2222", patience)
	require.NoError(t, err)
	t.Cleanup(func() { job.Close() })

	acquire(t, second, "q-aaaaaaaa")
	held, err := second.book.Held(second.owner("q-aaaaaaaa"))
	require.NoError(t, err)
	require.Contains(t, held, lease.Address)
	require.NoError(t, second.Release(t.Context(), "q-aaaaaaaa"))
	require.Equal(t, 2, connectionsOf(t, lease.Address))
	require.NoError(t, job.SetReadDeadline(time.Now().Add(impatience)))
	_, err = job.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// The kernel has one table of neighbours for all namespaces.
func TestGuestsMakeNoNeighboursUp(t *testing.T) {
	newInternet(t)
	lease := acquire(t, openIsland(t, testOptions(t, "p")), "p-aaaaaaaa")
	guest := newGuest(t, lease)
	addAddresses(t, guest, "lo", stranger4+"/32")
	require.NoError(t, Do(guest, func() error { return sendFrom(stranger4, network.Gateway.String()+":53") }))
	_, err := ask(guest, "udp", network.Gateway.String()+":53", impatience)
	require.Error(t, err, "it has asked for the gateway by then")
	require.NoError(t, Do(lease.Namespace, func() error {
		neighbours, err := netlinkdump.NeighList(0, netlink.FAMILY_V4)
		require.NoError(t, err)
		for _, n := range neighbours {
			require.NotEqual(t, stranger4, n.IP.String())
		}
		return nil
	}))
}

// What containers publish on the host's addresses, say.
func TestWorkersReachNothingThatIsPublishedOnTheHost(t *testing.T) {
	internet := newInternet(t)
	container := newNeighbour(t, "container", "bridge0", "172.17.0.1", "172.17.0.2")
	routeBy(t, container, "up0", "172.17.0.1")
	serve(t, container, "172.17.0.2:80")
	serve(t, container, "172.17.0.2:53")
	shell(t, `nft 'add table ip docker; add chain ip docker pre { type nat hook prerouting priority dstnat; };
		add rule ip docker pre ip daddr `+hostWAN+` meta l4proto { tcp, udp } th dport 8080 dnat to 172.17.0.2:80;
		add rule ip docker pre ip daddr `+hostWAN+` meta l4proto { tcp, udp } th dport 53 dnat to 172.17.0.2:53'`)
	t.Cleanup(func() { shell(t, "nft delete table ip docker") })
	require.NoError(t, forward(t.Context(), "bridge0"))
	require.NoError(t, forward(t.Context(), "wan0"))
	requireReaches(t, internet, hostWAN+":8080", isp)

	options := testOptions(t, "p")
	options.Deny = []network.Destination{}
	options.DNS = addresses(hostWAN)
	guest := newGuest(t, acquire(t, openIsland(t, options), "p-aaaaaaaa"))
	requireNoWay(t, guest, hostWAN+":8080")
	_, err := ask(guest, "udp", network.Gateway.String()+":53", patience)
	require.NoError(t, err, "but for the resolver")
}

func TestResolverBehindAnotherLinkAnswers(t *testing.T) {
	newInternet(t)
	lan := newNeighbour(t, "office", "lan0", hostLAN, lanPC)
	serveDNS(t, lan, lanPC, map[string]string{"printer.example": printer})
	for _, egress := range []string{"", "wan0"} {
		options := testOptions(t, "p")
		options.DNS = addresses(lanPC)
		options.Egress = egress
		island := openIsland(t, options)
		guest := newGuest(t, acquire(t, island, "p-aaaaaaaa"))
		found, err := lookUp(t, guest, "printer.example")
		require.NoError(t, err)
		require.Equal(t, addresses(printer), found)
		require.NoError(t, island.Release(t.Context(), "p-aaaaaaaa"))
		require.NoError(t, removeNamespace("guest-p-aaaaaaaa"))
	}
}

func TestPartsOfAnAllowedNetworkBehindAnotherLinkAnswer(t *testing.T) {
	newInternet(t)
	lan := newNeighbour(t, "office", "lan0", hostLAN, lanPC)
	serve(t, lan, lanPC+":80")
	options := testOptions(t, "p")
	options.Allow = destinations(t, "192.168.0.0/16")
	guest := newGuest(t, acquire(t, openIsland(t, options), "p-aaaaaaaa"))
	requireReaches(t, guest, lanPC+":80", hostLAN)
}

// A stream that nobody answers is one connection, however many packets it has.
func TestOneWayStreamsAreOneConnection(t *testing.T) {
	const packets = 100
	internet := newInternet(t)
	listener := listenPacket(t, internet, public+":80")
	options := testOptions(t, "p")
	options.ConnectionRate = 5
	guest := newGuest(t, acquire(t, openIsland(t, options), "p-aaaaaaaa"))
	require.NoError(t, ping(hostNamespace, netip.MustParseAddr(public), patience), "a link that has just come up loses packets")
	require.NoError(t, ping(guest, netip.MustParseAddr(public), patience))
	require.NoError(t, Do(guest, func() error {
		conn, err := net.Dial("udp", public+":80")
		if err != nil {
			return err
		}
		defer conn.Close()
		for range packets {
			if _, err := conn.Write([]byte("on")); err != nil {
				return err
			}
		}
		return nil
	}))
	for n := range packets {
		require.NoError(t, listener.SetReadDeadline(time.Now().Add(patience)))
		_, _, err := listener.ReadFrom(make([]byte, 16))
		require.NoError(t, err, "packet %d", n)
	}
}
