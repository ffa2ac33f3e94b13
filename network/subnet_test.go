package network

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSubnet(t *testing.T) {
	for text, want := range map[string]struct {
		gateway, first, last string
		capacity             int
	}{
		"10.0.4.77/24": {"10.0.4.1", "10.0.4.2", "10.0.4.254", 253},
		"10.0.0.0/16":  {"10.0.0.1", "10.0.0.2", "10.0.255.254", 65533},
		"10.0.0.0/30":  {"10.0.0.1", "10.0.0.2", "10.0.0.2", 1},
	} {
		subnet := Subnet(netip.MustParsePrefix(text))
		require.Equal(t, want.gateway, subnet.Gateway().String(), text)
		require.Equal(t, want.first, subnet.First().String(), text)
		require.Equal(t, want.last, subnet.Last().String(), text)
		require.Equal(t, want.capacity, subnet.Capacity(), text)
	}
	for _, text := range []string{"10.0.0.0/31", "10.0.0.0/32", "0.0.0.0/0", "fd00::/64"} {
		require.Zero(t, Subnet(netip.MustParsePrefix(text)).Capacity(), text)
	}
	require.Zero(t, Subnet{}.Capacity())
}

func TestSubnetGoesRound(t *testing.T) {
	subnet := Subnet(netip.MustParsePrefix("10.9.0.0/29"))
	for addr, want := range map[string]string{
		"10.9.0.2": "10.9.0.3",
		"10.9.0.5": "10.9.0.6",
		"10.9.0.6": "10.9.0.2",
		"10.9.0.7": "10.9.0.2",
		"10.9.0.0": "10.9.0.2",
		"10.8.0.1": "10.9.0.2",
		"10.9.1.1": "10.9.0.2",
		"fd00::1":  "10.9.0.2",
	} {
		require.Equal(t, want, subnet.After(netip.MustParseAddr(addr)).String(), addr)
	}
	require.Equal(t, "10.9.0.2", subnet.After(netip.Addr{}).String())
}

func TestLastAddress(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.4.77/24": "10.0.4.255",
		"10.0.0.1/32":  "10.0.0.1",
		"0.0.0.0/0":    "255.255.255.255",
		"fe80::/9":     "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	} {
		require.Equal(t, want, LastAddress(netip.MustParsePrefix(text)).String(), text)
	}
}
