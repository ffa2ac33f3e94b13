//go:build linux

package island

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// serveDNS answers questions for IPv4 addresses from a list, and knows nothing
// else.
func serveDNS(t *testing.T, namespace, address string, names map[string]string) {
	t.Helper()
	socket := listenPacket(t, namespace, net.JoinHostPort(address, "53"))
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if message.Unpack(buffer[:n]) != nil || len(message.Questions) != 1 {
				continue
			}
			if reply, err := replyTo(message, names); err == nil {
				socket.WriteTo(reply, from)
			}
		}
	}()
}

func replyTo(asked dnsmessage.Message, names map[string]string) ([]byte, error) {
	question := asked.Questions[0]
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: asked.ID, Response: true, RecursionAvailable: true},
		Questions: asked.Questions,
	}
	address, known := names[strings.TrimSuffix(question.Name.String(), ".")]
	switch {
	case !known:
		reply.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(address).As4()},
		}}
	}
	return reply.Pack()
}

// lookUp asks the gateway for a name's addresses, as programs in a guest do.
func lookUp(t *testing.T, guest, name string) ([]netip.Addr, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, protocol, _ string) (conn net.Conn, err error) {
		err = Do(guest, func() error {
			conn, err = net.Dial(protocol, net.JoinHostPort(network.Gateway.String(), "53"))
			return err
		})
		return conn, err
	}}
	return resolver.LookupNetIP(ctx, "ip4", name+".")
}

const (
	unheardOf = "198.51.100.99"
	internal  = "10.99.0.80"
)

func TestOnlyListedNamesOpenTheirAddresses(t *testing.T) {
	internet := newInternet(t)
	addAddresses(t, internet, "lo", unheardOf+"/32", internal+"/32", banned+"/32")
	for _, address := range []string{public, unheardOf, internal, banned} {
		serve(t, internet, address+":443")
	}
	serveDNS(t, internet, resolver, map[string]string{
		"good.example": public, "a.wild.example": public, "bad.example": unheardOf, "rebound.wild.example": internal,
	})
	options := testOptions(t, "p")
	options.Domains = []string{"good.example", "*.wild.example"}
	options.Allow = destinations(t, banned+"/32")
	island := openIsland(t, options)
	guest := newGuest(t, acquire(t, island, "p-aaaaaaaa"))
	other := newGuest(t, acquire(t, island, "p-bbbbbbbb"))

	requireNoWay(t, guest, public+":443")
	requireReaches(t, guest, banned+":443", hostWAN)
	found, err := lookUp(t, guest, "good.example")
	require.NoError(t, err)
	require.Equal(t, addresses(public), found)
	requireReaches(t, guest, public+":443", hostWAN)
	requireNoWay(t, other, public+":443")

	_, err = lookUp(t, guest, "bad.example")
	require.Error(t, err)
	requireNoWay(t, guest, unheardOf+":443")
	requireNoWay(t, guest, resolver+":53")

	found, err = lookUp(t, guest, "rebound.wild.example")
	require.NoError(t, err, "the name is listed")
	require.Equal(t, addresses(internal), found)
	requireNoWay(t, guest, internal+":443")

	found, err = lookUp(t, other, "a.wild.example")
	require.NoError(t, err)
	require.Equal(t, addresses(public), found)
	requireReaches(t, other, public+":443", hostWAN)
}

func TestTheRelayAsks(t *testing.T) {
	for name, test := range map[string]struct{ dns []string }{
		"a stub on a loopback address of the host": {[]string{"127.0.0.53"}},
		"the next when one is dead":                {[]string{"10.99.0.99", resolver}},
	} {
		t.Run(name, func(t *testing.T) {
			internet := newInternet(t)
			known := map[string]string{"good.example": public}
			serveDNS(t, internet, resolver, known)
			serveDNS(t, hostNamespace, "127.0.0.53", known)
			options := testOptions(t, "p")
			options.DNS = addresses(test.dns...)
			island := openIsland(t, options)
			guest := newGuest(t, acquire(t, island, "p-aaaaaaaa"))
			found, err := lookUp(t, guest, "good.example")
			require.NoError(t, err)
			require.Equal(t, addresses(public), found)
		})
	}
}

// TestTheRelayGoesOnWhenTheHostChangesNetworks has the host left with a resolver
// that the kernel would redirect new workers to.
func TestTheRelayGoesOnWhenTheHostChangesNetworks(t *testing.T) {
	internet := newInternet(t)
	serveDNS(t, internet, resolver, map[string]string{"good.example": public})
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	before := resolvConfs
	resolvConfs = []string{conf}
	t.Cleanup(func() { resolvConfs = before })
	say := func(text string) { require.NoError(t, os.WriteFile(conf, []byte(text), 0o600)) }

	say("nameserver 10.99.0.98\nnameserver 10.99.0.99\n")
	options := testOptions(t, "p")
	options.DNS = nil
	guest := newGuest(t, acquire(t, openIsland(t, options), "p-aaaaaaaa"))
	say("nameserver " + resolver + "\n")
	found, err := lookUp(t, guest, "good.example")
	require.NoError(t, err)
	require.Equal(t, addresses(public), found)
}

func TestServicesLiveAsLongAsTheirLease(t *testing.T) {
	internet := newInternet(t)
	serveDNS(t, internet, resolver, map[string]string{"good.example": public})
	options := testOptions(t, "p")
	options.Domains = []string{"good.example"}
	options.LogDenied = true
	island := openIsland(t, options)
	before := snapshot(t, island)
	lease, err := island.Acquire(t.Context(), "p-aaaaaaaa")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, island.Release(context.Background(), "p-aaaaaaaa")) })
	require.NoError(t, island.Park(t.Context(), "p-aaaaaaaa"))
	require.Empty(t, island.services.of["mf"+island.scope+"aaaaaaaa"])
	again, err := island.Unpark(t.Context(), "p-aaaaaaaa", 0)
	require.NoError(t, err)
	require.Equal(t, lease, again)
	_, err = lookUp(t, newGuest(t, again), "good.example")
	require.NoError(t, err)

	require.NoError(t, island.Release(t.Context(), "p-aaaaaaaa"))
	require.Len(t, island.services.of, 1, "the reader of the host's log")
	require.Equal(t, withoutGuest(before), withoutGuest(snapshot(t, island)))
}

// withoutGuest leaves out the namespaces of guests, which tests remove.
func withoutGuest(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "guest-") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
