package island

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
)

func TestSharedFromOpenToClose(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	shared, err := island.Shared(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"nftables table inet mayfly-" + island.scope}, shared)

	require.NoError(t, island.Close(t.Context()))
	shared, err = island.Shared(t.Context())
	require.NoError(t, err)
	require.Empty(t, shared)
}

func levels(findings []backend.Finding) map[string]backend.Level {
	levels := make(map[string]backend.Level)
	for _, f := range findings {
		levels[f.What] = f.Level
	}
	return levels
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	require.Equal(t, map[string]backend.Level{
		"network.subnet": backend.OK, "network.egress": backend.OK, "host firewall": backend.OK,
	}, levels(island.Check(t.Context())))

	nft := func(command string) {
		out, err := exec.Command("nft", command).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	nft("add table inet strict; add chain inet strict guard { type filter hook forward priority 0; policy drop; }")
	t.Cleanup(func() { nft("delete table inet strict") })
	options := testOptions(t, "q")
	options.Egress = "nowhere0"
	other, err := New(options)
	require.NoError(t, err)
	findings := other.Check(t.Context())
	require.Equal(t, backend.Missing, levels(findings)["network.egress"])
	require.Equal(t, backend.Warning, levels(findings)["host firewall"])
	out, err := exec.Command("sh", "-c", findings[2].Mend).CombinedOutput()
	require.NoError(t, err, string(out))
}
