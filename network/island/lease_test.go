//go:build linux

package island

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// snapshot is all that the host shows of leases and rules, but for what the
// kernel changes in its own time, such as a link's carrier.
func snapshot(t *testing.T, island *Island) string {
	t.Helper()
	var b strings.Builder
	links, err := netlinkdump.LinkList()
	require.NoError(t, err)
	for _, link := range links {
		fmt.Fprintln(&b, link.Attrs().Index, link.Attrs().Name)
	}
	for _, command := range []string{"ip -4 -o addr", "ip -4 route show table all", "ip neigh show nud permanent", "ip netns"} {
		words := strings.Fields(command)
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		require.NoError(t, err, string(out))
		fmt.Fprintf(&b, "%s\n%s", command, strings.ReplaceAll(string(out), " linkdown", ""))
	}
	owners, err := island.book.Owners()
	require.NoError(t, err)
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	fmt.Fprintf(&b, "%v\n%s%s", owners, mounts, ruleset(t, hostNamespace))
	return b.String()
}

func find(t *testing.T, island *Island) []string {
	t.Helper()
	found, err := island.Find(t.Context())
	require.NoError(t, err)
	return found
}

func TestReleaseLeavesNothingAndMayBeRepeated(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	before := snapshot(t, island)
	lease, err := island.Acquire(t.Context(), "p-aaaaaaaa")
	require.NoError(t, err)
	require.Equal(t, network.Lease{
		Worker:    "p-aaaaaaaa",
		Namespace: "/run/netns/mf" + island.scope + "aaaaaaaa",
		Address:   netip.MustParseAddr("10.86.0.2"),
		MTU:       wanMTU,
	}, lease)
	require.Equal(t, []string{"p-aaaaaaaa"}, find(t, island))

	require.NoError(t, island.Release(t.Context(), "p-aaaaaaaa"))
	require.Equal(t, before, snapshot(t, island))
	require.Empty(t, find(t, island))
	require.NoError(t, island.Release(t.Context(), "p-aaaaaaaa"))
}

func TestReleaseOfWhatNeverWas(t *testing.T) {
	requireHost(t)
	island, err := New(testOptions(t, "p"))
	require.NoError(t, err)
	require.NoError(t, island.Release(t.Context(), "p-aaaaaaaa"))
	for _, stray := range []string{"q-aaaaaaaa", "lost+found", "p-1"} {
		_, err := island.book.Take(t.Context(), island.owner(stray))
		require.NoError(t, err)
		require.NoError(t, island.Release(t.Context(), stray), "no lease can have the id %q", stray)
	}
	owners, err := island.book.Owners()
	require.NoError(t, err)
	require.Empty(t, owners)
}

func TestReleaseGoesOnAndSaysOnlyWhatFailed(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	name, err := island.name("p-aaaaaaaa")
	require.NoError(t, err)
	stubborn := filepath.Join(namespacePath(name), "in the way")
	require.NoError(t, os.MkdirAll(stubborn, 0o700))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(namespacePath(name))) })
	_, err = island.book.Take(t.Context(), island.owner("p-aaaaaaaa"))
	require.NoError(t, err)

	err = island.Release(t.Context(), "p-aaaaaaaa")
	require.ErrorContains(t, err, "removing network namespace "+name)
	require.NotContains(t, err.Error(), "lease", "whoever asked for it says so")
	owners, err := island.book.Owners()
	require.NoError(t, err)
	require.Empty(t, owners)
}

func TestAcquireThatFailsLeavesNothing(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx     context.Context
		prepare func(*testing.T, *Island)
		want    string
	}{
		"no tap device":       {t.Context(), hideTUN, "/dev/net/tun"},
		"all addresses taken": {t.Context(), takeAll, "every one is taken"},
		"all addresses routed": {t.Context(), func(t *testing.T, _ *Island) {
			routeElsewhere(t, "10.87.0.2/32")
		}, "routed elsewhere"},
		"caller gave up": {cancelled, func(*testing.T, *Island) {}, context.Canceled.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			newInternet(t)
			options := testOptions(t, "p")
			options.Subnet = netip.MustParsePrefix("10.87.0.0/30")
			island := openIsland(t, options)
			test.prepare(t, island)
			before := snapshot(t, island)
			_, err := island.Acquire(test.ctx, "p-aaaaaaaa")
			require.ErrorContains(t, err, test.want)
			require.Equal(t, before, snapshot(t, island))
		})
	}
}

func hideTUN(t *testing.T, _ *Island) {
	require.NoError(t, unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount("/dev/net", 0)) })
}

func takeAll(t *testing.T, island *Island) {
	for range network.Subnet(island.options.Subnet).Capacity() {
		_, err := island.book.Take(t.Context(), "somebody/else")
		require.NoError(t, err)
	}
}

func routeElsewhere(t *testing.T, destination string) {
	link, err := linkByName("wan0")
	require.NoError(t, err)
	require.NoError(t, netlink.RouteAdd(&netlink.Route{
		LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK,
		Dst: ipNet(netip.MustParsePrefix(destination)),
	}))
}

func TestAcquireAgainLeavesTheLeaseAlone(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	acquire(t, island, "p-aaaaaaaa")
	before := snapshot(t, island)
	_, err := island.Acquire(t.Context(), "p-aaaaaaaa")
	require.ErrorIs(t, err, os.ErrExist)
	require.Equal(t, before, snapshot(t, island))
}

func TestAddressesThatAnotherStateDirectoryUsesAreSkipped(t *testing.T) {
	newInternet(t)
	first, second := openIsland(t, testOptions(t, "p")), openIsland(t, testOptions(t, "q"))
	acquire(t, first, "p-aaaaaaaa")
	lease := acquire(t, second, "q-aaaaaaaa")
	require.Equal(t, "10.86.0.3", lease.Address.String())
	require.NoError(t, second.Release(t.Context(), "q-aaaaaaaa"))
	owners, err := second.book.Owners()
	require.NoError(t, err)
	require.Empty(t, owners)
}

func TestFindFindsWhatIsHalfMade(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	halves := []string{"p-aaaaaaaa", "p-bbbbbbbb", "p-cccccccc"}
	t.Cleanup(func() {
		for _, worker := range halves {
			require.NoError(t, island.Release(context.Background(), worker))
		}
	})
	prefix := "mf" + island.scope
	require.NoError(t, claimNamespace(prefix+"aaaaaaaa"))
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: prefix + "bbbbbbbb"})
	veth.PeerName = "half"
	require.NoError(t, netlink.LinkAdd(veth))
	for _, owner := range []string{"p/p-cccccccc", "p/p-aaaaaaaa", "other/p-dddddddd", "p/unusual"} {
		_, err := island.book.Take(t.Context(), owner)
		require.NoError(t, err)
	}

	require.Equal(t, halves, find(t, island))
	for _, worker := range halves {
		require.NoError(t, island.Release(t.Context(), worker))
	}
	require.Empty(t, find(t, island))
}

func TestPoolsAndStrangersAreLeftAlone(t *testing.T) {
	newInternet(t)
	newNeighbour(t, "foreign", "foreign0", "192.0.2.1", "192.0.2.2")
	out, err := exec.Command("nft", "add table ip foreign { chain c { type filter hook input priority 0; }; }").CombinedOutput()
	require.NoError(t, err, string(out))
	t.Cleanup(func() { require.NoError(t, exec.Command("nft", "delete table ip foreign").Run()) })
	options := testOptions(t, "p")
	neighbour := openIsland(t, options)
	lease := acquire(t, neighbour, "p-aaaaaaaa")
	newGuest(t, lease)
	before := snapshot(t, neighbour)

	options.Pool, options.PoolDir = "q", "/var/lib/mayfly/pools/q"
	island := openIsland(t, options)
	require.NotEqual(t, lease.Address, acquire(t, island, "q-aaaaaaaa").Address)
	require.Equal(t, []string{"q-aaaaaaaa"}, find(t, island))
	require.NoError(t, island.Release(t.Context(), "q-aaaaaaaa"))
	require.NoError(t, island.Close(t.Context()))

	require.Equal(t, before, snapshot(t, neighbour))
	requireReaches(t, hostNamespace, lease.Address.String()+":22", "10.86.0.1")
}

func TestOpenAndCloseMayBeRepeated(t *testing.T) {
	newInternet(t)
	island, err := New(testOptions(t, "p"))
	require.NoError(t, err)
	before := snapshot(t, island)
	require.NoError(t, island.Open(t.Context()))
	opened := snapshot(t, island)
	require.Contains(t, opened, "table inet mayfly-"+island.scope)
	require.NoError(t, island.Open(t.Context()))
	require.Equal(t, opened, snapshot(t, island))

	require.NoError(t, island.Close(t.Context()))
	require.NoError(t, island.Close(t.Context()))
	require.Equal(t, before, snapshot(t, island))
}

func TestOpenRefusesASubnetInUse(t *testing.T) {
	newInternet(t)
	for _, destination := range []string{"10.86.7.0/24", "10.0.0.0/8"} {
		t.Run(destination, func(t *testing.T) {
			newNeighbour(t, "office", "lan0", "192.0.2.1", "192.0.2.2")
			link, err := linkByName("lan0")
			require.NoError(t, err)
			require.NoError(t, netlink.RouteAdd(&netlink.Route{
				LinkIndex: link.Attrs().Index, Dst: ipNet(netip.MustParsePrefix(destination)),
			}))
			island, err := New(testOptions(t, "p"))
			require.NoError(t, err)
			err = island.Open(t.Context())
			require.ErrorContains(t, err, "network.subnet: "+subnet)
			require.ErrorContains(t, err, destination+` by "lan0"`)
			finding := island.findSubnet()
			require.Equal(t, doctor.Missing, finding.Level)
			require.Regexp(t, `^missing +network\.subnet: `+subnet+" overlaps ", finding.String())
		})
	}
}

func TestOpenNamesAMissingEgress(t *testing.T) {
	requireHost(t)
	options := testOptions(t, "p")
	options.Egress = "eth9"
	island, err := New(options)
	require.NoError(t, err)
	require.ErrorContains(t, island.Open(t.Context()), `network.egress "eth9"`)
}

func TestLeaseWithoutAWayOut(t *testing.T) {
	requireHost(t)
	lease := acquire(t, openIsland(t, testOptions(t, "p")), "p-aaaaaaaa")
	newGuest(t, lease)
	requireReaches(t, hostNamespace, lease.Address.String()+":22", "10.86.0.1")
}

func TestManyAtOnceAndNoThreadStaysBehind(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	before := snapshot(t, island)
	var group errgroup.Group
	for _, letter := range "abcdefghijkl" {
		worker := "p-" + strings.Repeat(string(letter), workerid.KeyLength)
		group.Go(func() error {
			if _, err := island.Acquire(t.Context(), worker); err != nil {
				return err
			}
			return island.Release(t.Context(), worker)
		})
	}
	require.NoError(t, group.Wait())
	require.Equal(t, before, snapshot(t, island))
	requireThreadsAtHome(t)
}

func requireThreadsAtHome(t *testing.T) {
	home, err := os.Readlink(hostNamespace)
	require.NoError(t, err)
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	require.NoError(t, err)
	for _, thread := range threads {
		if at, err := os.Readlink(thread); err == nil {
			require.Equal(t, home, at)
		}
	}
}

func TestParkedLeaseKeepsItsAddressAndNothingElse(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	first := acquire(t, island, "p-aaaaaaaa")
	require.NoError(t, island.Park(t.Context(), "p-aaaaaaaa"))
	require.NoError(t, island.Park(t.Context(), "p-aaaaaaaa"))
	require.Equal(t, []string{"p-aaaaaaaa"}, find(t, island))
	require.NoFileExists(t, first.Namespace)
	links, err := netlinkdump.LinkList()
	require.NoError(t, err)
	for _, link := range links {
		require.NotContains(t, link.Attrs().Name, island.scope)
	}
	second := acquire(t, island, "p-bbbbbbbb")
	require.NotEqual(t, first.Address, second.Address)

	again, err := island.Unpark(t.Context(), "p-aaaaaaaa", 0)
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = island.Unpark(t.Context(), "p-aaaaaaaa", 0)
	require.Error(t, err, "it is there already")

	require.NoError(t, island.Park(t.Context(), "p-bbbbbbbb"))
	require.NoError(t, island.book.Give(island.owner("p-bbbbbbbb"), []netip.Addr{second.Address}))
	lost, err := island.Unpark(t.Context(), "p-bbbbbbbb", 0)
	require.NoError(t, err, "a host may lose an address")
	require.True(t, lost.Address.IsValid())
	require.Equal(t, []string{"p-aaaaaaaa", "p-bbbbbbbb"}, find(t, island))
}
