package host

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host/diskguard"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// The link is the user's, who has the state directory elsewhere.
func TestRoomIsMadeInAStateDirectoryBehindALink(t *testing.T) {
	w, d, c := onDisk(t)
	c.StateDir = filepath.Join(shortDir(t), "link")
	require.NoError(t, os.Symlink(d.Dir, c.StateDir))
	w.Leftovers = func(config.Config) []diskguard.List {
		return []diskguard.List{func() ([]diskspace.Leftover, error) {
			remove := func() (bool, error) { d.Empty(); return true, nil }
			return []diskspace.Leftover{{What: "build", Bytes: 40 * mib, Remove: remove}}, nil
		}}
	}
	d.Fill(8 * mib)
	require.NoError(t, w.diskOf(c, silent).Check(t.Context()))
}
