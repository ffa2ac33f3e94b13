//go:build linux

package machines

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/inventory"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// look lists what there is of the program's on the host, with no help of it. Other
// packages' tests run beside: of processes and control groups only those are listed
// that belong to this state directory, and all else is in namespaces of ours.
func look(t *testing.T) []inventory.Thing {
	t.Helper()
	things, err := inventory.Look(inventory.Host{
		StateDir: stateDir(), Pools: []string{poolName(), clonesPool()},
		Plugin: func(program string) bool { return program == filepath.Join(home, testrun.ProgramName) },
	})
	require.NoError(t, err)
	return things
}

// lookSince returns what was not there before.
func lookSince(t *testing.T, before []inventory.Thing) []inventory.Thing {
	t.Helper()
	return slices.DeleteFunc(look(t), func(thing inventory.Thing) bool { return slices.Contains(before, thing) })
}

// owners are those that have something of a kind.
func owners(things []inventory.Thing, kind inventory.Kind) []inventory.Owner {
	found := make(map[inventory.Owner]bool)
	for _, thing := range things {
		if thing.Kind == kind {
			found[thing.Owner] = true
		}
	}
	return slices.Collect(maps.Keys(found))
}

// isPlugin says whether an owner is a plugin process.
func isPlugin(owner inventory.Owner) bool { return strings.HasPrefix(string(owner), "plugin ") }

// workers are owners without plugin processes.
func workers(things []inventory.Thing, kind inventory.Kind) []inventory.Owner {
	return slices.DeleteFunc(owners(things, kind), isPlugin)
}

// requireNothingLeft wants nothing to be there but what pools keep for their next
// plugin process, and these workers, which are suspended. The note that forwarding was
// switched on stays as long as anybody has a link, and goes with a pool that closes
// later.
func requireNothingLeft(t *testing.T, suspended ...string) {
	t.Helper()
	may := []inventory.Kind{inventory.PoolFile, inventory.Template, inventory.End, inventory.Console}
	shared := inventory.Belongings{Must: may[:1], May: may[1:]}
	if made == nil { // no test that was run needed it
		shared = inventory.Belongings{May: may}
	}
	left := map[inventory.Owner]inventory.Belongings{
		inventory.Pool(poolName()): shared, inventory.Pool(clonesPool()): {May: may},
		inventory.Pool("try"): {May: may}, inventory.Pool("images"): {May: may},
		inventory.Everyone: {May: []inventory.Kind{inventory.Forwarding}},
	}
	for _, id := range suspended {
		left[inventory.Worker(id)] = inventory.Belongings{Must: []inventory.Kind{
			inventory.Directory, inventory.Record, inventory.Address, inventory.Reservation,
		}}
	}
	require.Empty(t, inventory.Compare(look(t), left))
}
