//go:build linux

package firewall

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// open returns what a set of the guest's namespace holds, and for how long.
func open(t *testing.T, name string) map[string]time.Duration {
	t.Helper()
	conn, err := nftables.New()
	require.NoError(t, err)
	elements, err := conn.GetSetElements(&nftables.Set{Table: inet(NamespaceTable), Name: name, KeyType: nftables.TypeIPAddr})
	require.NoError(t, err)
	found := make(map[string]time.Duration)
	for _, e := range elements {
		addr, ok := netip.AddrFromSlice(e.Key)
		require.True(t, ok)
		found[addr.String()] = e.Timeout
	}
	return found
}

func TestLearnOpensAddressesForTheirTimeAndAgain(t *testing.T) {
	emptyNamespace(t)
	require.NoError(t, Apply(Namespace(Policy{FromHost: netip.MustParseAddr("10.86.0.1"), Policy: network.Policy{Domains: []string{"a.example"}, IPv6: network.IPv6{On: true}}})))
	one, two := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")
	mapped := netip.MustParseAddr("::ffff:198.51.100.1")
	require.NoError(t, Learn([]Learnt{{one, time.Minute}, {two, time.Hour}, {mapped, time.Second}}, true))
	require.Equal(t, map[string]time.Duration{"198.51.100.1": time.Minute}, open(t, "learnt"))
	require.Equal(t, map[string]time.Duration{"2001:db8::1": time.Hour}, open(t, "learnt6"))

	require.NoError(t, Learn([]Learnt{{one, 2 * time.Hour}}, true))
	require.Equal(t, map[string]time.Duration{"198.51.100.1": 2 * time.Hour}, open(t, "learnt"))
}

func TestLearnSkipsIPv6WithoutIt(t *testing.T) {
	emptyNamespace(t)
	require.NoError(t, Apply(Namespace(Policy{FromHost: netip.MustParseAddr("10.86.0.1"), Policy: network.Policy{Domains: []string{"a.example"}}})))
	require.NoError(t, Learn([]Learnt{{netip.MustParseAddr("2001:db8::1"), time.Hour}}, false))
	require.Empty(t, open(t, "learnt"))
	require.NoError(t, Learn(nil, false))
}

func TestLearnNeedsItsRules(t *testing.T) {
	emptyNamespace(t)
	require.NoError(t, Apply(Namespace(Policy{FromHost: netip.MustParseAddr("10.86.0.1")})))
	require.Error(t, Learn([]Learnt{{netip.MustParseAddr("198.51.100.1"), time.Hour}}, false))
}

func TestCountersBeginAtNothing(t *testing.T) {
	emptyNamespace(t)
	require.NoError(t, Apply(Namespace(Policy{FromHost: netip.MustParseAddr("10.86.0.1"), Policy: network.Policy{LogDenied: true}})))
	denied, err := Denied()
	require.NoError(t, err)
	require.Zero(t, denied)

	byLink, err := DeniedByLink("abcde")
	require.NoError(t, err, "a pool that is not open")
	require.Empty(t, byLink)
	require.NoError(t, ForgetLink("abcde", "mfabcdeaaaaaaaa"))

	require.NoError(t, Apply(Host(HostPolicy{Scope: "abcde", Subnet: netip.MustParsePrefix("10.86.0.0/16")})))
	byLink, err = DeniedByLink("abcde")
	require.NoError(t, err)
	require.Empty(t, byLink)
	require.NoError(t, ForgetLink("abcde", "mfabcdeaaaaaaaa"))
}
