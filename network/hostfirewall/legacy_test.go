//go:build linux

package hostfirewall

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLegacyTablesAreSeen(t *testing.T) {
	emptyNamespace(t, "iptables-legacy")
	// Reading a table makes it, and loads the kernel's part of it.
	if out, err := exec.Command("unshare", "-n", "iptables-legacy", "-S").CombinedOutput(); err != nil {
		t.Skipf("the kernel has no iptables of old: %s", out)
	}
	found, err := Legacy(false)
	require.NoError(t, err)
	require.False(t, found)

	shell(t, "iptables-legacy -t nat -S")
	found, err = Legacy(false)
	require.NoError(t, err)
	require.False(t, found, "a table that drops nothing")

	shell(t, "iptables-legacy -P FORWARD DROP")
	found, err = Legacy(false)
	require.NoError(t, err)
	require.True(t, found)
	found, err = Legacy(true)
	require.NoError(t, err)
	require.False(t, found, "rules for IPv4 only")
	rules, err := Read("ours")
	require.NoError(t, err)
	require.Empty(t, rules, "were nftables to show them, they would be read")
}
