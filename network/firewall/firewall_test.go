//go:build linux

package firewall

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// emptyNamespace is where a test has nft to itself.
func emptyNamespace(t *testing.T) {
	t.Helper()
	sandbox.EmptyNamespace(t, "nft")
}

// ruleset runs nft from the calling thread, and so in its namespace.
func ruleset(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func destinations(t *testing.T, texts ...string) []network.Destination {
	t.Helper()
	all := []network.Destination{}
	for _, text := range texts {
		some, err := network.ParseDestinations(text)
		require.NoError(t, err)
		all = append(all, some...)
	}
	return all
}

func tables(t *testing.T) map[string]Table {
	subnet := netip.MustParsePrefix("10.86.0.0/16")
	subnet6 := netip.MustParsePrefix("2001:db8:1::/64")
	resolver := netip.MustParseAddr("10.1.2.3")
	names := []string{"gitlab.example.com"}
	gateway := netip.MustParseAddr("10.86.0.1")
	return map[string]Table{
		"host":          Host(HostPolicy{Scope: "abcde", Subnet: subnet}),
		"host-egress":   Host(HostPolicy{Scope: "abcde", Subnet: subnet, Egress: "eth0"}),
		"host-resolver": Host(HostPolicy{Scope: "abcde", Subnet: subnet, Resolver: resolver}),
		"host-ipv6":     Host(HostPolicy{Scope: "abcde", Subnet: subnet, Subnet6: subnet6}),
		"host-routed":   Host(HostPolicy{Scope: "abcde", Subnet: subnet, Subnet6: subnet6, Routed: true, LogGroup: 4711}),
		"namespace":     Namespace(Policy{FromHost: gateway, Policy: network.Policy{Connections: 4096, ConnectionRate: 500}, Resolver: resolver}),
		"namespace-allow": Namespace(Policy{FromHost: gateway, Policy: network.Policy{
			Allow: destinations(t, "10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16", "192.168.7.7/32", "fd00::/8", "fd00::/8 udp/53"),
		}, Resolver: resolver}),
		"namespace-open": Namespace(Policy{FromHost: gateway, Policy: network.Policy{Deny: destinations(t)}}),
		"namespace-shut": Namespace(Policy{FromHost: gateway, Policy: network.Policy{
			Allow: destinations(t, "9.9.9.9/32 tcp/443", "udp/5000-5999"), Deny: destinations(t, "0.0.0.0/0"),
		}}),
		"namespace-ipv6": Namespace(Policy{FromHost: gateway, Policy: network.Policy{
			Allow: destinations(t, "fd00:1::/32 tcp/443", "fd00:2::/32", "10.1.0.0/16"), IPv6: network.IPv6{On: true}, LogDenied: true,
		}, Resolver: resolver}),
		"namespace-closed": Namespace(Policy{
			FromHost: gateway,
			Host: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("203.0.113.2/32"),
				netip.MustParsePrefix("fe80::1/128")},
			Workers: []netip.Prefix{subnet, subnet6},
			Policy:  network.Policy{Allow: destinations(t, "0.0.0.0/0", "::/0"), IPv6: network.IPv6{On: true}},
		}),
		"namespace-learnt":      Namespace(Policy{FromHost: gateway, Policy: network.Policy{Allow: destinations(t, "10.1.0.0/16"), Domains: names}, Relay: true}),
		"namespace-learnt-ipv6": Namespace(Policy{FromHost: gateway, Policy: network.Policy{Domains: names, IPv6: network.IPv6{On: true}}, Relay: true}),
	}
}

func TestTablesInTheWordsOfNft(t *testing.T) {
	for name, table := range tables(t) {
		t.Run(name, func(t *testing.T) {
			emptyNamespace(t)
			require.NoError(t, Apply(table))
			got := ruleset(t)
			golden := filepath.Join("testdata", name+".nft")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), got))
		})
	}
}

// TestGoldenFilesAreWhatNftReads keeps the golden files honest: nft makes the
// same rules from them.
func TestGoldenFilesAreWhatNftReads(t *testing.T) {
	for name := range tables(t) {
		t.Run(name, func(t *testing.T) {
			emptyNamespace(t)
			golden := filepath.Join("testdata", name+".nft")
			out, err := exec.Command("nft", "-f", golden).CombinedOutput()
			require.NoError(t, err, string(out))
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), ruleset(t)))
		})
	}
}

func TestApplyTwiceChangesNothing(t *testing.T) {
	emptyNamespace(t)
	table := tables(t)["namespace-allow"]
	require.NoError(t, Apply(table))
	once := ruleset(t)
	require.NoError(t, Apply(table))
	require.Equal(t, once, ruleset(t))
}

func TestApplyReplacesAndRemoveRemovesOnlyItsOwnTable(t *testing.T) {
	emptyNamespace(t)
	foreign := "table ip foreign {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}"
	out, err := exec.Command("nft", foreign).CombinedOutput()
	require.NoError(t, err, string(out))
	before := ruleset(t)

	require.NoError(t, Apply(tables(t)["host-egress"]))
	require.Contains(t, ruleset(t), "eth0")
	require.NoError(t, Apply(tables(t)["host"]))
	require.NotContains(t, ruleset(t), "eth0")

	require.NoError(t, Remove(HostTable("abcde")))
	require.NoError(t, Remove(HostTable("abcde")))
	require.Equal(t, before, ruleset(t))
}
