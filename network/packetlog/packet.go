//go:build linux

package packetlog

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Packet is what a log line tells of a packet.
type Packet struct {
	// In is the index of the interface that it came in by.
	In int
	// Protocol is the number of its transport protocol, as IP has it.
	Protocol byte
	// Source and Destination have no port, 0, where the protocol has none.
	Source, Destination netip.AddrPort
}

// Numbers of protocols without ports, as IP has them.
const (
	icmp   = 1
	icmpv6 = 58
)

var protocols = map[byte]string{icmp: "icmp", network.TCP: "tcp", network.UDP: "udp", icmpv6: "icmpv6"}

// ProtocolName returns the protocol's name, or its number when it is a rare one.
func (p Packet) ProtocolName() string {
	if name, ok := protocols[p.Protocol]; ok {
		return name
	}
	return fmt.Sprintf("protocol %d", p.Protocol)
}

// parse reads the headers of an IP packet, or says that it is none. It trusts no
// length in it.
func parse(packet []byte) (Packet, bool) {
	if len(packet) == 0 {
		return Packet{}, false
	}
	switch packet[0] >> 4 {
	case 4:
		return parseIPv4(packet)
	case 6:
		return parseIPv6(packet)
	}
	return Packet{}, false
}

func parseIPv4(packet []byte) (Packet, bool) {
	const shortest = 20
	length := 4 * int(packet[0]&0x0f)
	if length < shortest || len(packet) < length {
		return Packet{}, false
	}
	const fragmentOffset = 0x1fff
	transport := packet[length:]
	if binary.BigEndian.Uint16(packet[6:])&fragmentOffset != 0 {
		transport = nil // the ports are in the first fragment only
	}
	source, destination := netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20]))
	return withPorts(packet[9], source, destination, transport), true
}

// parseIPv6 takes an extension header for a protocol without ports.
func parseIPv6(packet []byte) (Packet, bool) {
	const header = 40
	if len(packet) < header {
		return Packet{}, false
	}
	source, destination := netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40]))
	return withPorts(packet[6], source, destination, packet[header:]), true
}

func withPorts(protocol byte, source, destination netip.Addr, transport []byte) Packet {
	var from, to uint16
	if (protocol == network.TCP || protocol == network.UDP) && len(transport) >= 4 {
		from, to = binary.BigEndian.Uint16(transport), binary.BigEndian.Uint16(transport[2:])
	}
	return Packet{
		Protocol: protocol,
		Source:   netip.AddrPortFrom(source, from), Destination: netip.AddrPortFrom(destination, to),
	}
}
