//go:build linux

package island

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

func TestAddressesOutsideKeepTheIPv4Address(t *testing.T) {
	addr := netip.MustParseAddr("10.210.1.2")
	for prefix, want := range map[string]string{
		"2001:db8:1:2::/64":     "2001:db8:1:2::ad2:102",
		"2001:db8:1:2:3:4::/96": "2001:db8:1:2:3:4:ad2:102",
	} {
		subnet := subnet6(network.IPv6{On: true, Prefix: netip.MustParsePrefix(prefix)})
		require.Equal(t, want, outside6(subnet, addr).String())
	}
	require.Equal(t, "fd6d:6179:666c:7901::ad2:102", outside6(subnet6(network.IPv6{On: true}), addr).String())
	require.False(t, subnet6(network.IPv6{}).IsValid(), "off")
}
