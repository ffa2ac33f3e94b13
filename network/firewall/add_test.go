//go:build linux

package firewall

import (
	"net/netip"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddIsApplyWhereThereIsNothing(t *testing.T) {
	for name, table := range tables(t) {
		t.Run(name, func(t *testing.T) {
			emptyNamespace(t)
			require.NoError(t, Add(table))
			added := ruleset(t)
			require.NoError(t, Apply(table))
			require.Equal(t, added, ruleset(t))
			require.Contains(t, added, "table inet "+table.name)
		})
	}
}

func TestForgetLinkDropsItsCountAlone(t *testing.T) {
	emptyNamespace(t)
	require.NoError(t, Apply(Host(HostPolicy{Scope: "abcde", Subnet: netip.MustParsePrefix("10.86.0.0/16")})))
	for _, link := range []string{"mfabcdeaaaaaaaa", "mfabcdebbbbbbbb"} {
		out, err := exec.Command("nft", "add element inet "+HostTable("abcde")+" "+deniedSet+" { "+link+" }").CombinedOutput()
		require.NoError(t, err, string(out))
	}
	require.NoError(t, ForgetLink("abcde", "mfabcdeaaaaaaaa"))
	denied, err := DeniedByLink("abcde")
	require.NoError(t, err)
	require.Equal(t, map[string]uint64{"mfabcdebbbbbbbb": 0}, denied)
}
