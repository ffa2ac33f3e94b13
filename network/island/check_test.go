//go:build linux

package island

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
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

func levels(findings []doctor.Finding) map[string]doctor.Level {
	levels := make(map[string]doctor.Level)
	for _, f := range findings {
		levels[f.What] = f.Level
	}
	return levels
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	found := levels(island.Check(t.Context()))
	delete(found, "firewall reload") // it is about the files of the machine
	require.Equal(t, map[string]doctor.Level{
		"network.subnet": doctor.OK, "network.egress": doctor.OK, "host firewall": doctor.OK,
	}, found)

	options := testOptions(t, "q")
	options.Egress = "nowhere0"
	other, err := New(options)
	require.NoError(t, err)
	require.Equal(t, doctor.Missing, levels(other.Check(t.Context()))["network.egress"])
}
