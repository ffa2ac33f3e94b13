//go:build linux

package island

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// try sends what the flow says, and says what came of it: nothing if it arrived,
// silence if it did not.
func try(from string, to place, f flow, wait time.Duration) (how error) {
	address := netip.AddrPortFrom(netip.MustParseAddr(to.address), f.port)
	switch f.protocol {
	case "tcp", "udp":
		_, how = ask(from, f.protocol, address.String(), wait)
	case "pieces":
		how = askInPieces(from, address, wait)
	case "icmp":
		how = ping(from, address.Addr(), wait)
	case "honest":
		how = sendAs(from, "", to.namespace, address, wait)
	case "spoofed":
		how = sendAs(from, stranger(address.Addr()), to.namespace, address, wait)
	case "other":
		how = sendOther(from, to.namespace, address.Addr(), wait)
	default:
		return fmt.Errorf("no protocol is called %q", f.protocol)
	}
	return how
}

// unheard says that a packet went out, and that nothing came of it.
func unheard(how error) bool { return os.IsTimeout(how) || errors.Is(how, errNotHeard) }

// fragmented is longer than any link's MTU here.
const fragmented = 3000

// askInPieces asks with a packet that must be fragmented.
func askInPieces(from string, to netip.AddrPort, wait time.Duration) error {
	return Do(from, func() error {
		conn, err := net.Dial("udp", to.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		return exchange(conn, make([]byte, fragmented), wait)
	})
}

// exchange asks and waits for any answer.
func exchange(conn net.Conn, question []byte, wait time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	if _, err := conn.Write(question); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 64))
	return err
}

// ping waits for the echo of its own request.
func ping(from string, to netip.Addr, wait time.Duration) error {
	protocol, any, request, reply := "ip4:icmp", "0.0.0.0", icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply)
	number := 1
	if to.Is6() {
		protocol, any, request, reply = "ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
		number = 58
	}
	token := []byte(rand.Text())
	return Do(from, func() error {
		conn, err := icmp.ListenPacket(protocol, any)
		if err != nil {
			return err
		}
		defer conn.Close()
		packet, err := (&icmp.Message{Type: request, Body: &icmp.Echo{ID: 1, Seq: 1, Data: token}}).Marshal(nil)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(packet, &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}); err != nil {
			return err
		}
		return hear(conn, time.Now().Add(wait), func(packet []byte) bool {
			message, err := icmp.ParseMessage(number, packet)
			return err == nil && message.Type == reply && bytes.HasSuffix(packet, token)
		})
	})
}

// otherProtocol is for experiments (RFC 3692): nobody tracks or translates more
// of it than addresses.
const otherProtocol = "ip4:253"

// sendOther sends a packet without ports and sees whether it arrives.
func sendOther(from, at string, to netip.Addr, wait time.Duration) error {
	return send(net.Dialer{}, otherProtocol, from, at, to.String(), wait)
}

// Addresses that guests have given themselves, and that nobody gave them.
const (
	stranger4 = "198.51.100.99"
	stranger6 = "2001:db8:bad::99"
)

// stranger is the one of the address's protocol.
func stranger(addr netip.Addr) string {
	if addr.Is6() {
		return stranger6
	}
	return stranger4
}

// sendAs sends a packet with the source, or the usual one when that is empty, and
// sees whether it arrives: no answer would come back to a forged one.
func sendAs(from, source, at string, to netip.AddrPort, wait time.Duration) error {
	var dialer net.Dialer
	if source != "" {
		dialer.LocalAddr = &net.UDPAddr{IP: net.ParseIP(source)}
	}
	return send(dialer, "udp", from, at, to.String(), wait)
}

// send sends a packet to a listener of its own.
func send(dialer net.Dialer, protocol, from, at, to string, wait time.Duration) error {
	token := []byte(rand.Text())
	var listener net.PacketConn
	if err := Do(at, func() (err error) {
		listener, err = net.ListenPacket(protocol, to)
		return err
	}); err != nil {
		return err
	}
	defer listener.Close()
	if err := Do(from, func() error {
		conn, err := dialer.Dial(protocol, to)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write(token)
		return err
	}); err != nil {
		return err
	}
	return hear(listener, time.Now().Add(wait), func(packet []byte) bool { return bytes.HasSuffix(packet, token) })
}

var errNotHeard = errors.New("nothing was heard")

func hear(conn net.PacketConn, until time.Time, isIt func([]byte) bool) error {
	if err := conn.SetReadDeadline(until); err != nil {
		return err
	}
	buffer := make([]byte, 1500)
	for time.Now().Before(until) {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if isIt(buffer[:n]) {
			return nil
		}
	}
	return errNotHeard
}
