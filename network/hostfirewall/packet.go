//go:build linux

package hostfirewall

import (
	"encoding/binary"
	"net/netip"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Packet is what is known about a packet.
type Packet map[Field][]byte

// Traffic is where packets of workers pass, between a link and an interface.
type Traffic struct {
	// Link is a worker's.
	Link string
	// Egress is the interface that leads out; empty when it is not known.
	Egress string
	// Worker is a worker's address, the zero Addr when it is not known.
	Worker netip.Addr
	IPv6   bool
}

// The numbers that the kernel has for states of a connection, families, types
// of addresses.
const (
	stateEstablished = 2
	stateNew         = 8

	familyIPv4 = 2
	familyIPv6 = 10

	typeUnicast = 1
	typeLocal   = 2
)

// Through returns the packets that pass the host when a worker opens a
// connection: one on its way out and one on its way back.
func (t Traffic) Through() []Packet {
	out, back := t.packet(stateNew, typeUnicast), t.packet(stateEstablished, typeUnicast)
	out[IIFName], back[OIFName] = name(t.Link), name(t.Link)
	if t.Egress != "" {
		out[OIFName], back[IIFName] = name(t.Egress), name(t.Egress)
	}
	if t.Worker.IsValid() {
		out[SAddr], back[DAddr] = t.Worker.AsSlice(), t.Worker.AsSlice()
	}
	return []Packet{out, back}
}

// ToResolver returns the packets with which a worker asks a resolver on the
// host itself.
func (t Traffic) ToResolver(resolver netip.Addr) []Packet {
	var packets []Packet
	for _, protocol := range []byte{network.UDP, network.TCP} {
		p := t.packet(stateNew, typeLocal)
		p[IIFName], p[OIFName] = name(t.Link), name("")
		p[DAddr], p[L4Proto] = resolver.AsSlice(), []byte{protocol}
		p[DPort] = binary.BigEndian.AppendUint16(nil, network.DNSPort)
		if t.Worker.IsValid() {
			p[SAddr] = t.Worker.AsSlice()
		}
		packets = append(packets, p)
	}
	return packets
}

func (t Traffic) packet(state, destination uint32) Packet {
	family := byte(familyIPv4)
	if t.IPv6 {
		family = familyIPv6
	}
	return Packet{NFProto: {family}, CTState: number(state), FibDAddrType: number(destination)}
}

// number returns a number as the kernel has it in a register.
func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// name returns an interface name as the kernel compares it.
func name(text string) []byte {
	padded := make([]byte, 16)
	copy(padded, text)
	return padded
}
