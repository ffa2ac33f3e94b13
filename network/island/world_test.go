//go:build linux

package island

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// The world around the host: a link to the internet, which knows no way to
// the workers' subnet, so that only masqueraded packets are answered.
const (
	subnet   = "10.86.0.0/16"
	hostWAN  = "203.0.113.2"
	isp      = "203.0.113.1"
	public   = "198.51.100.7"
	wanMTU   = 1400
	resolver = "10.99.0.53" // in a private network, and so denied to workers
)

const (
	patience   = time.Minute            // for what shall arrive
	impatience = 400 * time.Millisecond // for what shall not
)

// hostNamespace is where the test process is at home; any of its threads may be
// elsewhere.
var hostNamespace string

func newInternet(t testing.TB) (namespace string) {
	requireHost(t)
	require.NoError(t, shareNamespaces(t.Context()))
	internet := newNeighbour(t, "internet", "wan0", hostWAN, isp)
	require.NoError(t, Do(internet, func() error {
		loopback := configure("lo")
		loopback.address(single(netip.MustParseAddr(public)))
		loopback.address(single(netip.MustParseAddr(resolver)))
		return loopback.err
	}))
	wan := configure("wan0")
	wan.defaultRoute(netip.MustParseAddr(isp))
	require.NoError(t, wan.err)
	return internet
}

// newNeighbour makes a namespace and a link to it, with an address on either
// side.
func newNeighbour(t testing.TB, name, link, near, far string) (namespace string) {
	namespace = newNamespace(t, name)
	ns, err := netns.GetFromPath(namespace)
	require.NoError(t, err)
	defer ns.Close()
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: link, TxQLen: 1000, MTU: wanMTU})
	veth.PeerName, veth.PeerNamespace = "up0", netlink.NsFd(ns)
	require.NoError(t, netlink.LinkAdd(veth))
	t.Cleanup(func() { require.NoError(t, removeLink(link)) })

	near24 := netip.PrefixFrom(netip.MustParseAddr(near), 24)
	require.NoError(t, addAndUp(link, near24))
	require.NoError(t, Do(namespace, func() error {
		return addAndUp("up0", netip.PrefixFrom(netip.MustParseAddr(far), 24))
	}))
	return namespace
}

func newNamespace(t testing.TB, name string) (path string) {
	require.NoError(t, claimNamespace(name))
	t.Cleanup(func() { require.NoError(t, removeNamespace(name)) })
	require.NoError(t, makeNamespace(name, func() error {
		loopback := configure("lo")
		loopback.up()
		return errors.Join(loopback.err, doubtNoAddress())
	}))
	return namespacePath(name)
}

// doubtNoAddress has links made later use their own IPv6 addresses at once,
// where they would otherwise ask first whether others have them.
func doubtNoAddress() error { return setSysctl("0", "ipv6", "conf", "default", "accept_dad") }

func addAndUp(name string, address netip.Prefix) error {
	link := configure(name)
	link.address(address)
	link.up()
	return link.err
}

func testOptions(t testing.TB, pool string) Options {
	return Options{
		PoolDir:    filepath.Join("/var/lib/mayfly/pools", pool),
		Pool:       pool,
		AddressDir: filepath.Join(t.TempDir(), "addresses"),
		Subnet:     netip.MustParsePrefix(subnet),
		Policy:     network.Policy{DNS: []netip.Addr{netip.MustParseAddr(resolver)}},
		Log:        slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func openIsland(t testing.TB, o Options) *Island {
	island, err := New(o)
	require.NoError(t, err)
	require.NoError(t, island.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, island.Close(t.Context())) })
	return island
}

func acquire(t testing.TB, island *Island, worker string) network.Lease {
	lease, err := island.Acquire(t.Context(), worker)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, island.Release(t.Context(), worker)) })
	return lease
}

// serve answers every TCP connection and UDP packet at the address with the
// address that it seems to come from.
func serve(t testing.TB, namespace, address string) {
	t.Helper()
	go serveTCP(listen(t, namespace, address))
	go serveUDP(listenPacket(t, namespace, address))
}

// listen accepts TCP connections in a namespace until the test ends.
func listen(t testing.TB, namespace, address string) (listener net.Listener) {
	t.Helper()
	require.NoError(t, Do(namespace, func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	}))
	t.Cleanup(func() { listener.Close() })
	return listener
}

// listenPacket takes UDP packets in a namespace until the test ends.
func listenPacket(t testing.TB, namespace, address string) (socket net.PacketConn) {
	t.Helper()
	require.NoError(t, Do(namespace, func() (err error) {
		socket, err = net.ListenPacket("udp", address)
		return err
	}))
	t.Cleanup(func() { socket.Close() })
	return socket
}

func serveTCP(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(conn, conn.RemoteAddr())
		conn.Close()
	}
}

func serveUDP(socket net.PacketConn) {
	buffer := make([]byte, 1<<16)
	for {
		_, from, err := socket.ReadFrom(buffer)
		if err != nil {
			return
		}
		socket.WriteTo([]byte(from.String()), from)
	}
}

// ask returns as whom a server at the address sees a client in the namespace.
func ask(namespace, network, address string, wait time.Duration) (seen string, err error) {
	err = Do(namespace, func() error {
		conn, err := net.DialTimeout(network, address, wait)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(wait))
		if strings.HasPrefix(network, "udp") {
			fmt.Fprint(conn, "who am I?")
		}
		answer := make([]byte, 64)
		n, err := conn.Read(answer)
		if err != nil && err != io.EOF {
			return err
		}
		seen, _, err = net.SplitHostPort(string(answer[:n]))
		return err
	})
	return seen, err
}

func requireReaches(t *testing.T, from, address, seenAs string) {
	t.Helper()
	for _, network := range []string{"tcp4", "udp4"} {
		seen, err := ask(from, network, address, patience)
		require.NoError(t, err, "%s to %s", network, address)
		require.Equal(t, seenAs, seen, "%s to %s", network, address)
	}
}

func requireNoWay(t *testing.T, from, address string) {
	t.Helper()
	for _, network := range []string{"tcp4", "udp4"} {
		_, err := ask(from, network, address, impatience)
		require.True(t, os.IsTimeout(err), "%s to %s: %v", network, address, err)
	}
}

// ruleset returns the rules of a namespace in nft's words.
func ruleset(t testing.TB, namespace string) string {
	var out []byte
	require.NoError(t, Do(namespace, func() (err error) {
		out, err = exec.Command("nft", "list", "ruleset").CombinedOutput()
		return err
	}), string(out))
	return string(out)
}

// requireDropped wants a rule with these words to have dropped packets. What was
// sent may still be on its way there.
func requireDropped(t *testing.T, namespace, words string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		rules := ruleset(t, namespace)
		if slices.ContainsFunc(strings.Split(rules, "\n"), func(rule string) bool {
			return strings.Contains(rule, words) && (strings.Contains(rule, "drop") || strings.Contains(rule, "goto denied")) && !strings.Contains(rule, "packets 0 ")
		}) {
			return
		}
		require.Less(t, time.Since(began), patience, "no rule with %q dropped anything:\n%s", words, rules)
	}
}

// toLines logs to a channel, a line at a time.
func toLines(lines chan<- string) *slog.Logger {
	return slog.New(slog.NewTextHandler(lineWriter(func(line string) { lines <- line }), nil))
}

type lineWriter func(string)

func (w lineWriter) Write(line []byte) (int, error) {
	w(string(line))
	return len(line), nil
}

// requireLine waits for a line with all the words.
func requireLine(t *testing.T, lines <-chan string, words ...string) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case line := <-lines:
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
				return
			}
		case <-late:
			t.Fatalf("no line with %q was logged", words)
		}
	}
}
