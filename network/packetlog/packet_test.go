//go:build linux

package packetlog

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Packets as tcpdump -x shows them.
const (
	ipv4UDP      = "45000020000100004011b6c6c6120002 cb007107 30390035000c0000 61626364"
	ipv4Fragment = "4500002000012001 40110000c6120002cb007107 30390035000c000061626364"
	ipv4Ping     = "4500001c00010000400100000a0000010a000002 0800000000010001"
	ipv6TCP      = "6000000000140640 20010db8000000000000000000000001 20010db8000000000000000000000002" +
		"d43101bb 00000000 00000000 5002ffff 00000000"
)

func packet(t *testing.T, text string) []byte {
	t.Helper()
	bytes, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	require.NoError(t, err)
	return bytes
}

func TestParse(t *testing.T) {
	for name, test := range map[string]struct{ packet, protocol, from, to string }{
		"UDP":            {ipv4UDP, "udp", "198.18.0.2:12345", "203.0.113.7:53"},
		"later fragment": {ipv4Fragment, "udp", "198.18.0.2:0", "203.0.113.7:0"},
		"ping":           {ipv4Ping, "icmp", "10.0.0.1:0", "10.0.0.2:0"},
		"IPv6 TCP":       {ipv6TCP, "tcp", "[2001:db8::1]:54321", "[2001:db8::2]:443"},
		"options": {
			"46000024000100004011b6c6c6120002cb007107 01010101 30390035000c0000 61626364",
			"udp", "198.18.0.2:12345", "203.0.113.7:53",
		},
		"rare": {"4500001400010000 40fd0000c6120002cb007107", "protocol 253", "198.18.0.2:0", "203.0.113.7:0"},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parse(packet(t, test.packet))
			require.True(t, ok)
			require.Equal(t, test.protocol, got.ProtocolName())
			require.Equal(t, test.from, got.Source.String())
			require.Equal(t, test.to, got.Destination.String())
		})
	}
}

func TestParseRefusesWhatIsNoPacket(t *testing.T) {
	v4, v6 := packet(t, ipv4UDP), packet(t, ipv6TCP)
	for name, bytes := range map[string][]byte{
		"nothing":           nil,
		"another version":   {0x75},
		"IPv4 cut off":      v4[:19],
		"IPv4 without size": append([]byte{0x44}, v4[1:]...),
		"IPv4 beyond end":   append([]byte{0x4f}, v4[1:]...),
		"IPv6 cut off":      v6[:39],
	} {
		t.Run(name, func(t *testing.T) {
			_, ok := parse(bytes)
			require.False(t, ok)
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{ipv4UDP, ipv4Fragment, ipv4Ping, ipv6TCP} {
		bytes, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		require.NoError(f, err)
		f.Add(bytes)
	}
	f.Fuzz(func(t *testing.T, bytes []byte) {
		if p, ok := parse(bytes); ok {
			require.True(t, p.Source.Addr().IsValid() && p.Destination.Addr().IsValid())
			require.NotEmpty(t, p.ProtocolName())
		}
	})
}
