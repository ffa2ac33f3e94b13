//go:build linux

package machines

import (
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/inventory"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// foreign makes a namespace, links and a table that are somebody else's, with
// names as another pool of this host might give.
const foreign = `
	ip netns add mfzzzzzaaaaaaaa
	ip link add mfzzzzzaaaaaaaa type veth peer name uplink netns mfzzzzzaaaaaaaa
	nft 'add table inet mayfly-zzzzz'
	nft 'add chain inet mayfly-zzzzz forward { type filter hook forward priority 0; }'
	nft 'add rule inet mayfly-zzzzz forward ip saddr 192.0.2.1 drop'
`

const describeForeign = `
	stat -c %i /run/netns/mfzzzzzaaaaaaaa
	ip -details link show dev mfzzzzzaaaaaaaa
	ip -n mfzzzzzaaaaaaaa -details link show
	nft list table inet mayfly-zzzzz
`

const removeForeign = `
	nft 'delete table inet mayfly-zzzzz'
	ip link delete mfzzzzzaaaaaaaa
	ip netns delete mfzzzzzaaaaaaaa
`

// Runner and plugin are killed at once, so that nobody cleans up.
func TestNextPluginRemovesWhatAKilledOneLeft(t *testing.T) {
	s := begin(t)
	t.Cleanup(func() { shell(t, removeForeign) })
	shell(t, foreign)
	before := look(t)
	others := shell(t, describeForeign)
	crash(t, s, before)

	plugin := s.start(t)
	require.NoError(t, plugin.Initialise(t.Context()))
	left := lookSince(t, before)
	for _, kind := range ofWorkers {
		require.Empty(t, workers(left, kind), "%s: %s", kind, left)
	}
	states, err := plugin.States(t.Context())
	require.NoError(t, err)
	require.Empty(t, states, "orphans must not be reported")

	id := grow(t, plugin, 1)[0]
	said, err := plugin.Run(patiently(t), id, identify)
	require.NoError(t, err)
	requireIdentity(t, id, said)
	require.Equal(t, others, shell(t, describeForeign))
}

// ofWorkers are the kinds of things that each worker that runs has.
var ofWorkers = []inventory.Kind{
	inventory.Process, inventory.ControlGroup, inventory.User, inventory.Namespace, inventory.Mount, inventory.Link,
	inventory.Directory, inventory.Address, inventory.Reservation,
}

// crash leaves behind what a plugin had when it was killed: two workers that
// run, and two on their way up.
func crash(t *testing.T, s shared, before []inventory.Thing) {
	t.Helper()
	killed := runner.StartProcess(t, s.binary, pluginConfig())
	killed.Tell("grow 2")
	killed.Tell("work")
	killed.Tell("grow 2")
	await(t, testrun.Patience(t), "a machine on its way up", func() bool {
		left := lookSince(t, before)
		return !slices.ContainsFunc(ofWorkers, func(kind inventory.Kind) bool { return len(workers(left, kind)) < 3 })
	})
	require.True(t, slices.ContainsFunc(owners(lookSince(t, before), inventory.Process), isPlugin))
	killed.SignalGroup(syscall.SIGKILL)
	await(t, moments, "the end of the plugin", func() bool {
		return !slices.ContainsFunc(owners(lookSince(t, before), inventory.Process), isPlugin)
	})

	left := lookSince(t, before)
	for _, kind := range ofWorkers {
		require.Greater(t, len(workers(left, kind)), 2, "%s: %s", kind, left)
	}
	require.Len(t, owners(left, inventory.Table), 1, left)
}
