//go:build linux

package island

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/changes"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

// later is an address that the host comes to.
const later = "192.0.2.7"

func TestALeaseThatCannotFollowTheHostDoesSoLater(t *testing.T) {
	newInternet(t)
	lines := make(chan string, 1000)
	options := testOptions(t, "p")
	options.Log = toLines(lines)
	island := openIsland(t, options)
	lease := acquire(t, island, "p-aaaaaaaa")
	acquire(t, island, "p-bbbbbbbb")
	require.NoError(t, Do(lease.Namespace, func() error { return firewall.Remove(firewall.NamespaceTable) }))
	shell(t, "ip addr add "+later+"/24 dev wan0")
	requireLine(t, lines, "workers' own rules do not deny them all addresses of the host", "again_in=")
	requireDenies(t, island, "p-bbbbbbbb", later)
	require.NoError(t, Do(lease.Namespace, func() error {
		return firewall.Add(firewall.Namespace(firewall.Policy{FromHost: island.gateway}))
	}))
	requireDenies(t, island, "p-aaaaaaaa", later)
}

func TestNoLeaseIsMadeThatDoesNotDenyTheHost(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	before := snapshot(t, island)
	_, version, err := island.hostHears()
	require.NoError(t, err)
	settle := func(ctx context.Context, worker, name string) (netip.Addr, error) {
		shell(t, "ip addr add "+later+"/24 dev wan0")
		require.Eventually(t, func() bool {
			_, changed, err := island.hostHears()
			return err == nil && changed > version
		}, patience, time.Millisecond)
		shell(t, "ip addr del "+later+"/24 dev wan0")
		require.NoError(t, Do(namespacePath(name), func() error { return firewall.Remove(firewall.NamespaceTable) }))
		return island.settle(ctx, worker, name)
	}
	_, err = island.make(t.Context(), "p-aaaaaaaa", 0, settle, island.Release)
	require.ErrorContains(t, err, "changing the rules of mf"+island.scope+"aaaaaaaa")
	require.Equal(t, before, snapshot(t, island))
}

// An error of what is done in a namespace is not one of a namespace that is missing.
func TestNamespacesThatAreNotThere(t *testing.T) {
	requireHost(t)
	require.NoError(t, shareNamespaces(t.Context()))
	nothing := func() error { return nil }
	require.True(t, isNoNamespace(Do(namespacePath("nowhere"), nothing)))
	require.NoError(t, claimNamespace("claimed"))
	t.Cleanup(func() { require.NoError(t, removeNamespace("claimed")) })
	require.True(t, isNoNamespace(Do(namespacePath("claimed"), nothing)))
	there := newNamespace(t, "there")
	for _, failed := range []error{unix.EINVAL, unix.ENOENT} {
		err := Do(there, func() error { return fmt.Errorf("changing rules: %w", failed) })
		require.ErrorIs(t, err, failed)
		require.False(t, isNoNamespace(err))
	}
}

func TestAnIdlePoolSwitchesNoForwardingOn(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	follower := island.follower
	follower.hear(island, changes.Links{Missed: true})
	require.Eventually(t, func() bool { return len(follower.forwarding.asked) == 0 }, patience, time.Millisecond)
	require.NoError(t, island.unwatch()) // which ends with what was begun
	requireForwarding(t, false, "conf", "wan0", "forwarding")
}

// requireForwards waits until a link forwards.
func requireForwards(t *testing.T, link string) {
	t.Helper()
	require.Eventually(t, func() bool {
		on, err := forwards(link)
		return err == nil && on
	}, patience, 10*time.Millisecond, link)
}

// Another default route, and a link that goes and comes back.
func TestLeasesFollowTheWayOut(t *testing.T) {
	newInternet(t)
	newNeighbour(t, "other", "wan1", "192.0.2.2", "192.0.2.1")
	options := testOptions(t, "p")
	options.Allow = destinations(t, "192.168.77.0/24")
	island := openIsland(t, options)
	acquire(t, island, "p-aaaaaaaa")
	requireForwarding(t, true, "conf", "wan0", "forwarding")
	requireForwarding(t, false, "conf", "wan1", "forwarding")
	shell(t, "ip route replace default via 192.0.2.1")
	requireForwards(t, "wan1")

	dummy := func(link, address string) {
		shell(t, "ip link add "+link+" type veth; ip addr add "+address+" dev "+link+"; ip link set "+link+" up")
		t.Cleanup(func() { require.NoError(t, removeLink(link)) })
	}
	require.NoError(t, removeLink("wan1"))
	dummy("wan1", "192.0.2.2/24")
	requireForwarding(t, false, "conf", "wan1", "forwarding")
	shell(t, "ip route add default via 192.0.2.1")
	requireForwards(t, "wan1")
	dummy("lan0", hostLAN+"/24")
	requireForwards(t, "lan0")
}

func TestALinkThatIsMissingIsSaidToBeUnlessItIsGone(t *testing.T) {
	newInternet(t)
	options := testOptions(t, "p")
	options.IPv6.On = true
	island := openIsland(t, options)
	acquire(t, island, "p-aaaaaaaa")
	require.ErrorIs(t, island.forwardLease(t.Context(), "mfgone", ways{}), fs.ErrNotExist)
	pretend := func(name string) func() {
		island.leases.add(name, 0)
		return func() { island.leases.remove(name) }
	}
	gone := pretend("mfgone")
	require.NoError(t, island.forwardAgain(t.Context()), "as one that has just been removed")
	gone()

	byLink, err := forwards6ByLink()
	require.NoError(t, err)
	if !byLink {
		return // the host as a whole is a router
	}
	router, err := readSysctl("ipv6", "conf", "all", "forwarding")
	require.NoError(t, err)
	require.Equal(t, "0", router, "a missing link makes no router of the host")
	shell(t, "ip link add mfsmall mtu 1000 type veth") // too little for IPv6
	t.Cleanup(func() { require.NoError(t, removeLink("mfsmall")) })
	defer pretend("mfsmall")()
	require.ErrorIs(t, island.forwardAgain(t.Context()), fs.ErrNotExist)
}
