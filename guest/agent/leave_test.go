//go:build linux

package agent

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

func TestLeaveNetworkTakesAddressAndRouteAway(t *testing.T) {
	name := newGuestLink(t)
	require.NoError(t, linux{}.SetUpNetwork())
	for range 2 {
		require.NoError(t, linux{}.LeaveNetwork())
		addresses, gateways := has(t, name, unix.AF_INET)
		require.Empty(t, addresses)
		require.Empty(t, gateways)
	}
	require.NoError(t, linux{}.SetUpNetwork())
	addresses, gateways := has(t, name, unix.AF_INET)
	require.Equal(t, []string{network.Guest.String()}, addresses)
	require.Equal(t, []string{network.Gateway.String()}, gateways)
}

// TestConnectionsThatLeadOutsideAreEnded has one that leads outside, as far as its
// addresses say, and one that does not.
func TestConnectionsThatLeadOutsideAreEnded(t *testing.T) {
	newGuestLink(t)
	require.NoError(t, linux{}.SetUpNetwork())
	link, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	other := &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(32, 32)}
	require.NoError(t, netlink.AddrAdd(link, &netlink.Addr{IPNet: other}))
	connect := func(local string) net.Conn {
		listener, err := net.Listen("tcp4", local)
		require.NoError(t, err)
		t.Cleanup(func() { _ = listener.Close() })
		var dialer net.Dialer
		if local != "127.0.0.1:0" {
			dialer.LocalAddr = &net.TCPAddr{IP: network.Guest.Addr().AsSlice()}
		}
		conn, err := dialer.Dial("tcp4", listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	outside, inside := connect("192.0.2.1:0"), connect("127.0.0.1:0")
	require.NoError(t, endConnections())
	ended := func(conn net.Conn) bool {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		_, err := conn.Read(make([]byte, 1))
		var late net.Error
		return err != nil && (!errors.As(err, &late) || !late.Timeout())
	}
	require.True(t, ended(outside))
	require.False(t, ended(inside))
}

func TestRowsOfConnections(t *testing.T) {
	for row, want := range map[string]string{
		"  sl  local_address rem_address   st":                                                                   "",
		"   0: 020012C6:8AE2 018200C0:01BB 01 00000000:00000000":                                                 "192.0.130.1:443",
		"   1: 020012C6:8AE2 018200C0:01BB 06 00000000:00000000":                                                 "",
		"   2: 00000000:0016 00000000:0000 0A 00000000:00000000":                                                 "",
		"   3: 0100007F:8AE2 0100007F:01BB 01 00000000:00000000":                                                 "",
		"   4: 0000000000000000FFFF0000020012C6:8AE2 0000000000000000FFFF0000018200C0:01BB 01 00000000:00000000": "192.0.130.1:443",
		"   5: 00000000000000000000000001000000:8AE2 00000000000000000000000001000000:01BB 01 00000000:00000000": "",
		"   6: 0200 12C6:8AE2 00000000:0000":                                                                     "",
	} {
		c, outward := parseConnection(row)
		require.Equal(t, want != "", outward, row)
		if outward {
			require.Equal(t, want, c.remote.String())
			require.Equal(t, "198.18.0.2:35554", c.local.String())
		}
	}
}
