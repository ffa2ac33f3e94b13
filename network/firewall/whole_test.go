//go:build linux

package firewall

import (
	"net/netip"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func nft(t *testing.T, command string) {
	t.Helper()
	out, err := exec.Command("nft", command).CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestWholeIsWhatNobodyTookAnythingFrom(t *testing.T) {
	for name, test := range map[string]struct {
		harm string
		want bool
		// without is what is seen without the policy.
		without State
	}{
		"as it was made":             {"list ruleset", true, Complete},
		"beside others":              {"add table inet mine", true, Complete},
		"an element":                 {"add element inet mayfly-abcde denied-links { mfabcdea }", true, Complete},
		"everything flushed":         {"flush ruleset", false, Missing},
		"the table deleted":          {"delete table inet mayfly-abcde", false, Missing},
		"its rules flushed":          {"flush table inet mayfly-abcde", false, Incomplete},
		"the rules of a chain":       {"flush chain inet mayfly-abcde forward", false, Incomplete},
		"a rule more":                {"insert rule inet mayfly-abcde input accept", false, Complete},
		"dormant":                    {"add table inet mayfly-abcde { flags dormant; }", false, Incomplete},
		"one of another family more": {"add table ip mayfly-abcde", true, Complete},
	} {
		t.Run(name, func(t *testing.T) {
			emptyNamespace(t)
			table := Host(HostPolicy{Scope: "abcde", Subnet: netip.MustParsePrefix("10.86.0.0/16"), Egress: "eth0"})
			require.NoError(t, Apply(table))
			nft(t, test.harm)
			whole, err := Whole(table)
			require.NoError(t, err)
			require.Equal(t, test.want, whole)
			without, err := HostState("abcde")
			require.NoError(t, err)
			require.Equal(t, test.without, without)
			require.NoError(t, Apply(table))
			whole, err = Whole(table)
			require.NoError(t, err)
			require.True(t, whole, "it is put back")
		})
	}
}

func TestSetHostIsWhatTheHostHas(t *testing.T) {
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	emptyNamespace(t)
	policy := Policy{FromHost: netip.MustParseAddr("10.86.0.1"), Host: prefixes("127.0.0.0/8", "203.0.113.2/32", "::1/128")}
	policy.IPv6.On = true
	require.NoError(t, Apply(Namespace(policy)))
	for _, host := range [][]netip.Prefix{
		prefixes("127.0.0.0/8", "203.0.113.2/32", "203.0.113.3/32", "203.0.113.0/24", "::1/128", "fe80::1/128"),
		prefixes("203.0.113.3/32"),
		nil,
		prefixes("203.0.113.3/32", "fe80::1/128"),
	} {
		require.NoError(t, SetHost(host, true))
		changed := ruleset(t)
		policy.Host = host
		require.NoError(t, Apply(Namespace(policy)))
		require.Equal(t, ruleset(t), changed)
	}
	require.NoError(t, Remove(NamespaceTable))
	require.Error(t, SetHost(prefixes("203.0.113.3/32"), false))
}
