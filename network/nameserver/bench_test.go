package nameserver

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// BenchmarkRelay is one question and its answer over UDP: straight to a resolver
// that answers at once, and through a relay.
func BenchmarkRelay(b *testing.B) {
	answer := pack(b, answerTo(b, queryMessage("gitlab.com.", dnsmessage.TypeA), "gitlab.com. 60s CNAME a.test.", "a.test. 60s A 192.0.2.1"))
	resolver := echo(b, answer)
	names := mustParseNames(b, "example.org", "*.example.org", "gitlab.com", "*.gitlab.com")
	learn := func(context.Context, []Learnt) error { return nil }
	relay := newRelay(b, Options{Names: names, Resolvers: asking(resolver), Learn: learn}).address

	b.Run("direct", func(b *testing.B) { roundTrips(b, resolver.String(), "gitlab.com.") })
	b.Run("relay", func(b *testing.B) { roundTrips(b, relay, "gitlab.com.") })
	b.Run("refused", func(b *testing.B) { roundTrips(b, relay, "evil.test.") })
}

func roundTrips(b *testing.B, address, name string) {
	conn, err := net.Dial("udp", address)
	require.NoError(b, err)
	defer conn.Close()
	msg, buffer := query(b, name, dnsmessage.TypeA), make([]byte, maxUDP)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Read(buffer); err != nil {
			b.Fatal(err)
		}
	}
}

// echo is a resolver that costs next to nothing: it has one answer, and changes
// its id.
func echo(b *testing.B, answer []byte) netip.AddrPort {
	udp, tcp := sockets(b)
	require.NoError(b, tcp.Close())
	done := make(chan struct{})
	b.Cleanup(func() { udp.Close(); <-done })
	go func() {
		defer close(done)
		buffer := make([]byte, maxUDP)
		for {
			_, from, err := udp.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			copy(answer, buffer[:2])
			udp.WriteToUDPAddrPort(answer, from)
		}
	}()
	return udp.LocalAddr().(*net.UDPAddr).AddrPort()
}
