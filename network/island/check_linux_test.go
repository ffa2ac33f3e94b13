package island

import (
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

	options := testOptions(t, "q")
	options.Egress = "nowhere0"
	other, err := New(options)
	require.NoError(t, err)
	require.Equal(t, backend.Missing, levels(other.Check(t.Context()))["network.egress"])
}
