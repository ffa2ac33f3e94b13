//go:build linux

package hostfirewall

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// swap is a transaction for nft that leaves a table whose rules all have one
// verdict, in several chains.
func swap(verdict string) string {
	var b strings.Builder
	b.WriteString("add table inet t; delete table inet t; add table inet t\n")
	b.WriteString("add chain inet t base { type filter hook forward priority 0; }\n")
	for n := range 20 {
		fmt.Fprintf(&b, "add chain inet t c%d; add rule inet t base jump c%d\n", n, n)
		for range 20 {
			fmt.Fprintf(&b, "add rule inet t c%d iifname \"eth0\" %s\n", n, verdict)
		}
	}
	return b.String()
}

// TestReadNeverMixesOldAndNew reads while another process changes the rules as
// fast as it can.
func TestReadNeverMixesOldAndNew(t *testing.T) {
	emptyNamespace(t)
	script := fmt.Sprintf("set -e\nfor n in $(seq 10); do nft '%s'; nft '%s'; done", swap("accept"), swap("drop"))
	shell(t, "nft '"+swap("accept")+"'") // so that there is always something to read
	writer := exec.Command("sh", "-c", script)
	require.NoError(t, writer.Start())
	done := make(chan error, 1)
	go func() { done <- writer.Wait() }()
	whole := 0
	for running := true; running; {
		select {
		case err := <-done:
			require.NoError(t, err)
			running = false
		default:
		}
		rules, err := Read("ours")
		if running && err != nil {
			require.ErrorIs(t, err, netlinkdump.ErrChanging)
			continue
		}
		require.NoError(t, err)
		requireOneVerdict(t, rules)
		whole++
	}
	t.Log(whole, "reads, some of them beside changes") // the last is beside none
}

func requireOneVerdict(t *testing.T, rules Ruleset) {
	t.Helper()
	require.NotEmpty(t, rules)
	seen := make(map[Kind]int)
	for name, chain := range rules[0].Chains {
		if name == "base" {
			continue
		}
		for _, r := range chain.Rules {
			seen[r.Then.Kind]++
		}
	}
	require.Len(t, seen, 1)
	for _, n := range seen {
		require.Equal(t, 400, n)
	}
}
