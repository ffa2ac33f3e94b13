//go:build linux

package island

import (
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

func TestConnectionsAtOnceAreLimited(t *testing.T) {
	const most = 5
	internet := newInternet(t)
	listen(t, internet, public+":80")
	options := testOptions(t, "p")
	options.Connections = most
	island := openIsland(t, options)
	guest := newGuest(t, acquire(t, island, "p-aaaaaaaa"))
	other := newGuest(t, acquire(t, island, "p-bbbbbbbb"))

	dial := func(namespace string, wait time.Duration) error {
		return Do(namespace, func() error {
			conn, err := net.DialTimeout("tcp", public+":80", wait)
			if err == nil {
				t.Cleanup(func() { conn.Close() })
			}
			return err
		})
	}
	for range most {
		require.NoError(t, dial(guest, patience))
	}
	require.Error(t, dial(guest, impatience))
	require.NoError(t, dial(other, patience), "each worker has its own")
}

func TestNewConnectionsPerSecondAreLimited(t *testing.T) {
	const perSecond, tried = 5, 200
	internet := newInternet(t)
	listener := listenPacket(t, internet, public+":80")
	options := testOptions(t, "p")
	options.ConnectionRate = perSecond
	island := openIsland(t, options)
	guest := newGuest(t, acquire(t, island, "p-aaaaaaaa"))

	require.NoError(t, ping(hostNamespace, netip.MustParseAddr(public), patience), "a link that has just come up loses packets")
	require.NoError(t, ping(guest, netip.MustParseAddr(public), patience))
	time.Sleep(2 * time.Second / perSecond) // what the ping took is given back
	begin := time.Now()
	require.NoError(t, Do(guest, func() error {
		for range tried {
			conn, err := net.Dial("udp", public+":80")
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("hello")); err != nil {
				return err
			}
		}
		return nil
	}))
	came := 0
	for wait := patience; listener.SetReadDeadline(time.Now().Add(wait)) == nil; {
		if _, _, err := listener.ReadFrom(make([]byte, 16)); err != nil {
			break
		}
		if came++; came == perSecond {
			wait = impatience
		}
	}
	most := perSecond*(1+int(time.Since(begin)/time.Second)) + perSecond
	require.GreaterOrEqual(t, came, perSecond)
	require.LessOrEqual(t, came, most, "of %d tried", tried)
}

// A bucket cannot let more pass than it holds and is given meanwhile, on however
// slow a machine.
func TestBandwidthIsLimitedInBothDirections(t *testing.T) {
	const bandwidth, bytes = 8_000_000, 1_000_000 // a second's worth
	internet := newInternet(t)
	listener := listen(t, internet, public+":80")
	answered := make(chan time.Time, 1)
	go func() { // reads all, and then sends as much
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		n, _ := io.CopyN(io.Discard, conn, bytes)
		answered <- time.Now()
		conn.Write(make([]byte, n))
	}()
	options := testOptions(t, "p")
	options.Bandwidth = bandwidth
	guest := newGuest(t, acquire(t, openIsland(t, options), "p-aaaaaaaa"))
	require.NoError(t, Do(guest, func() error {
		conn, err := net.DialTimeout("tcp", public+":80", patience)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(6 * patience)); err != nil {
			return err
		}
		begin := time.Now()
		if _, err := conn.Write(make([]byte, bytes)); err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, conn)
		if err != nil {
			return err
		}
		require.EqualValues(t, bytes, n)
		turned := <-answered
		requireSlow(t, turned.Sub(begin), "out")
		requireSlow(t, time.Since(turned), "in")
		return nil
	}))
}

func requireSlow(t *testing.T, took time.Duration, direction string) {
	t.Helper()
	require.Greater(t, took, 700*time.Millisecond, "a second's worth of bytes, %s", direction)
}

func TestBucketHoldsThePacketsOfATime(t *testing.T) {
	require.Equal(t, bucket{rate: 125_000, burst: minBurst, limit: minBurst + 12_500}, newBucket(1_000_000))
	require.Equal(t, bucket{rate: 125_000_000, burst: 6_250_000, limit: 18_750_000}, newBucket(1_000_000_000))
}

// TestSegmentsFitTheWay has a guest and a server that think of longer packets
// than the way between them takes.
func TestSegmentsFitTheWay(t *testing.T) {
	internet := newInternet(t)
	setMTU(t, internet, "up0", 1500)
	listener := listen(t, internet, public+":80")
	guest := newGuest(t, acquire(t, openIsland(t, testOptions(t, "p")), "p-aaaaaaaa"))
	setMTU(t, guest, "eth0", 1500)
	var client net.Conn
	require.NoError(t, Do(guest, func() (err error) {
		client, err = net.DialTimeout("tcp", public+":80", patience)
		return err
	}))
	defer client.Close()
	server, err := listener.Accept()
	require.NoError(t, err)
	defer server.Close()
	for end, conn := range map[string]net.Conn{"guest": client, "server": server} {
		require.LessOrEqual(t, segment(t, conn), wanMTU-40, end)
	}
}

// segment is how much a connection puts into a packet.
func segment(t *testing.T, conn net.Conn) (bytes int) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	var failed error
	require.NoError(t, raw.Control(func(fd uintptr) {
		bytes, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG)
	}))
	require.NoError(t, failed)
	return bytes
}

func setMTU(t *testing.T, namespace, link string, mtu int) {
	t.Helper()
	require.NoError(t, Do(namespace, func() error {
		c := configure(link)
		c.mtu(mtu)
		return c.err
	}))
}

func TestDeniedPacketsAreCountedForEachWorkerAndLogged(t *testing.T) {
	internet := newInternet(t)
	serve(t, internet, resolver+":80")
	newNeighbour(t, "office", "lan0", "192.0.2.1", "192.0.2.2")
	options := testOptions(t, "p")
	options.LogDenied, options.Egress = true, "wan0"
	lines := make(chan string, 100)
	options.Log = toLines(lines)
	island := openIsland(t, options)
	guest := newGuest(t, acquire(t, island, "p-aaaaaaaa"))
	acquire(t, island, "p-bbbbbbbb")
	require.Equal(t, map[string]uint64{"p-aaaaaaaa": 0, "p-bbbbbbbb": 0}, denied(t, island))

	send := func(to string) {
		require.NoError(t, Do(guest, func() error {
			conn, err := net.Dial("udp", to)
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte("hello"))
			return err
		}))
	}
	send(resolver + ":80") // inside its namespace
	requireLine(t, lines, "p-aaaaaaaa", "udp", resolver+":80")
	send("192.0.2.2:123") // by the host
	requireLine(t, lines, "p-aaaaaaaa", "udp", "192.0.2.2:123")
	require.Equal(t, map[string]uint64{"p-aaaaaaaa": 2, "p-bbbbbbbb": 0}, denied(t, island))

	other, err := New(island.options)
	require.NoError(t, err)
	require.Equal(t, denied(t, island), denied(t, other), "from another process")

	passed, err := island.Traffic("p-aaaaaaaa")
	require.NoError(t, err)
	require.Equal(t, int64(2), passed.Denied)
	require.ElementsMatch(t, []network.DeniedTo{
		{Protocol: "udp", To: resolver + ":80", Packets: 1}, {Protocol: "udp", To: "192.0.2.2:123", Packets: 1},
	}, passed.To)
	require.Greater(t, passed.BytesOut, int64(len("hello")), "what the host denied came as far as the host")
	_, err = island.Traffic("p-cccccccc")
	require.Error(t, err, "it has no lease")
}

func denied(t *testing.T, island *Island) map[string]uint64 {
	t.Helper()
	found, err := island.Denied(t.Context())
	require.NoError(t, err)
	return found
}
