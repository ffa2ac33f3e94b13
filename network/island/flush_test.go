//go:build linux

package island

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/changes"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

const (
	// flushes is how often everything is flushed beside traffic, at moments up to
	// moment apart.
	flushes = 10
	moment  = 100 * time.Millisecond
	// slowest is a bound on how soon the way out is back, in the median, that no
	// machine misses.
	slowest = 10 * time.Second
)

// Addresses that the host comes to later, and a port where nobody shall be heard.
const (
	later4 = "203.0.113.99"
	later6 = "2001:db8:ffff::99"
	closed = 7777
)

// flush removes everything from the host, as a reload of its firewall may.
func flush() error {
	out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// ears count what they hear: connections, and packets.
type ears struct {
	name  string
	heard atomic.Int64
}

// listenEverywhere hears on all addresses of a namespace, of both protocols.
func listenEverywhere(t *testing.T, name, namespace string, port uint16) *ears {
	e := &ears{name: name}
	address := fmt.Sprintf("[::]:%d", port)
	listener, socket := listen(t, namespace, address), listenPacket(t, namespace, address)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			e.heard.Add(1)
			conn.Close()
		}
	}()
	go func() {
		for packet := make([]byte, 64); ; {
			if _, _, err := socket.ReadFrom(packet); err != nil {
				return
			}
			e.heard.Add(1)
		}
	}()
	// They do hear what may pass.
	const knocks = 4
	require.NoError(t, Do(namespace, func() error {
		return knock([]netip.AddrPort{door("127.0.0.1", port), door("::1", port)}, patience, new(atomic.Int64))
	}))
	require.Eventually(t, func() bool { return e.heard.Load() == knocks }, patience, time.Millisecond, name)
	e.heard.Store(0)
	return e
}

func door(address string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(address), port)
}

// knock sends a packet to each door, and opens a connection to it, for which it waits
// no longer than wait. It counts what could be sent, and returns the last error.
func knock(doors []netip.AddrPort, wait time.Duration, sent *atomic.Int64) (failed error) {
	for _, door := range doors {
		for _, protocol := range []string{"udp", "tcp"} {
			conn, err := net.DialTimeout(protocol, door.String(), wait)
			if err != nil {
				failed = err
				continue
			}
			if _, err := conn.Write([]byte("let me in")); err != nil {
				failed = err
			} else {
				sent.Add(1)
			}
			conn.Close()
		}
	}
	return failed
}

// knocker knocks where nobody shall hear it, and at an open door, so that it is known
// to be heard where it may be.
type knocker struct {
	namespace string
	closed    []netip.AddrPort
	open      netip.AddrPort
	sent      atomic.Int64
}

// knockOn knocks at all doors again and again until it is stopped.
func (k *knocker) knockOn(stop <-chan struct{}) error {
	const soon = 2 * time.Millisecond // and leaves the processor to what it watches
	return Do(k.namespace, func() error {
		for {
			select {
			case <-stop:
				return nil
			default: // most of it fails, which is what is wanted
				_ = knock(k.closed, soon, &k.sent)
				_ = knock([]netip.AddrPort{k.open}, soon, new(atomic.Int64))
			}
		}
	})
}

// wayOut waits until a guest reaches the internet by a socket of its own. Answers
// are waited for longer each time, for on a busy machine they are slow.
func wayOut(t *testing.T, guest string, addresses ...string) {
	t.Helper()
	for _, address := range addresses {
		began := time.Now()
		for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
			_, err := ask(guest, "udp", address, wait)
			if err == nil {
				break
			}
			require.Less(t, time.Since(began), patience, "%s: %v", address, err)
		}
	}
}

// TestNothingClosedIsReachedWhileOthersFlush has workers of two pools knock wherever
// they must not be heard, while everything is flushed. One policy denies the LAN, the
// other nothing but the interface that leads there.
func TestNothingClosedIsReachedWhileOthersFlush(t *testing.T) {
	world := newFlowWorld(t)
	internet := world["internet"].namespace
	options := flowOptions(t, "p")
	options.Containers = true // whose packets no process carries, which would be slow beside this
	first := openIsland(t, options)
	options.Pool, options.PoolDir = "q", "/var/lib/mayfly/pools/q"
	options.Allow, options.Deny, options.Egress = destinations(t, "0.0.0.0/0", "::/0"), []network.Destination{}, "wan0"
	options.Connections, options.ConnectionRate = 0, 0
	second := openIsland(t, options)
	addWorker(t, world, second, "q-aaaaaaaa", "stranger")
	addWorker(t, world, first, "p-bbbbbbbb", "other-worker")
	addWorker(t, world, first, "p-aaaaaaaa", "worker")
	serve(t, internet, public+":5000")
	serve(t, internet, "["+public6+"]:5000")

	var all []*ears
	for _, name := range []string{"host", "lan", "other-worker", "stranger", "worker"} {
		all = append(all, listenEverywhere(t, name, world[name].namespace, closed))
	}
	addAddresses(t, hostNamespace, "wan0", later4+"/32", later6+"/128")
	t.Cleanup(func() { shell(t, "ip addr del "+later4+"/32 dev wan0; ip addr del "+later6+"/128 dev wan0") })
	requireDenies(t, first, "p-aaaaaaaa", later4, later6)
	requireDenies(t, second, "q-aaaaaaaa", later4, later6)

	stop := make(chan struct{})
	var knocking errgroup.Group
	var knockers []*knocker
	var greeted []*ears
	for n, test := range []struct {
		from   string
		closed []string
		open   string // and where that is
		of     string
	}{
		{"worker", []string{
			"host", "host6", "host-lan", "host-inside", "host-inside6", "lan", "lan6",
			"other-worker", "other-worker6", "stranger", "stranger6", later4, later6,
		}, public, "internet"},
		{"stranger", []string{
			"host", "host6", "host-lan", "host-inside", "host-inside6", "lan", "lan6",
			"worker", "worker6", later4, later6,
		}, public, "internet"},
		{"lan", []string{"worker", "worker6", "stranger", "stranger6"}, hostLAN, "host"},
		{"internet", []string{"worker", "worker6", "stranger"}, hostWAN, "host"},
	} {
		port := uint16(closed + 1 + n)
		greeted = append(greeted, listenEverywhere(t, test.of+", by "+test.from, world[test.of].namespace, port))
		k := &knocker{namespace: world[test.from].namespace, open: door(test.open, port)}
		for _, name := range test.closed {
			k.closed = append(k.closed, door(cmp.Or(world[name].address, name), closed))
		}
		knockers = append(knockers, k)
	}
	for _, k := range knockers {
		knocking.Go(func() error { return k.knockOn(stop) })
	}

	for _, name := range []string{"worker", "stranger"} {
		wayOut(t, world[name].namespace, public+":5000", "["+public6+"]:5000")
	}
	var closedFor []time.Duration
	for range flushes {
		time.Sleep(rand.N(moment)) // the moment is random, nothing is awaited
		require.NoError(t, flush())
		began := time.Now()
		for _, name := range []string{"worker", "stranger"} {
			wayOut(t, world[name].namespace, public+":5000", "["+public6+"]:5000")
		}
		closedFor = append(closedFor, time.Since(began))
	}
	for _, e := range greeted {
		require.Eventually(t, func() bool { return e.heard.Load() > 0 }, patience, time.Millisecond, e.name)
	}
	close(stop)
	require.NoError(t, knocking.Wait())
	slices.Sort(closedFor)
	knocks := int64(0)
	for _, k := range knockers {
		require.Positive(t, k.sent.Load())
		knocks += k.sent.Load()
	}
	t.Logf("%d knocks, %d flushes: the ways out of both pools were back after %v in the median, %v at most",
		knocks, flushes, closedFor[flushes/2], closedFor[flushes-1])
	require.Less(t, closedFor[flushes/2], slowest)
	for _, e := range all {
		require.Zero(t, e.heard.Load(), "%s was reached", e.name)
	}
	for _, island := range []*Island{first, second} {
		require.Contains(t, ruleset(t, hostNamespace), "table inet "+firewall.HostTable(island.scope))
	}
}

// requireDenies waits until a worker's own rules deny addresses of the host.
func requireDenies(t *testing.T, island *Island, worker string, addresses ...string) {
	t.Helper()
	name, err := island.name(worker)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		rules := ruleset(t, namespacePath(name))
		return !slices.ContainsFunc(addresses, func(a string) bool { return !strings.Contains(rules, a) })
	}, patience, 10*time.Millisecond)
}

func TestFlowsBeforeDuringAndAfterFlushes(t *testing.T) {
	all := parseFlows(t, flows)
	world := newFlowWorld(t)
	island := openIsland(t, flowOptions(t, "p"))
	addWorker(t, world, island, "p-bbbbbbbb", "other-worker")
	addWorker(t, world, island, "p-aaaaaaaa", "worker")
	world["itself"] = world["worker"]
	serveFlows(t, world, all)
	requireFlows(t, world, all)

	stop, flushing := make(chan struct{}), errgroup.Group{}
	var flushed atomic.Int64
	flushing.Go(func() error {
		for {
			if err := flush(); err != nil {
				return err
			}
			flushed.Add(1)
			select {
			case <-time.After(rand.N(4 * moment)): // or soon the table is not put back at once
			case <-stop:
				return nil
			}
		}
	})
	denied := slices.DeleteFunc(slices.Clone(all), func(f flow) bool { return f.arrives })
	for began := time.Now(); flushed.Load() < flushes; {
		requireFlows(t, world, denied)
		require.Less(t, time.Since(began), patience, "%d flushes", flushed.Load())
	}
	close(stop)
	require.NoError(t, flushing.Wait())
	t.Logf("%d flushes beside %d flows", flushed.Load(), len(denied))
	wayOut(t, world["worker"].namespace, public+":5000")
	requireFlows(t, world, all)
}

// A host that has lost the pool's table for good, and a worker whose own rules are
// all that is left.
func TestWithoutTheHostsRulesWorkersReachNothing(t *testing.T) {
	world := newFlowWorld(t)
	options := flowOptions(t, "p")
	options.Allow, options.Deny, options.Egress = destinations(t, "0.0.0.0/0", "::/0"), []network.Destination{}, "wan0"
	island := openIsland(t, options)
	addWorker(t, world, island, "p-bbbbbbbb", "other-worker")
	addWorker(t, world, island, "p-aaaaaaaa", "worker")
	world["itself"] = world["worker"]
	require.NoError(t, island.unwatch())
	require.NoError(t, flush())
	all := parseFlows(t, `
		worker   tcp  internet:80      no
		worker   udp  internet:5000    no
		worker   other internet        no
		worker   icmp internet         no
		worker   honest internet:5001  no   nothing leaves the host, masqueraded or not
		worker   tcp  lan:80           no
		worker   honest lan:5001       no
		worker   honest lan6:5001      no
		worker   tcp  host:22          no
		worker   honest host:5001      no
		worker   honest host6:5001     no
		worker   honest host-lan:5001  no
		worker   icmp host             no
		worker   icmp host6            no
		worker   honest host-inside:5001  no
		worker   honest host-inside6:5001 no
		worker   tcp  other-worker:22  no
		worker   icmp other-worker6    no
		worker   spoofed host:5002     no
		worker   tcp  itself:22        no
		lan      tcp  worker:22        no
		lan      udp  worker:22        no
		internet tcp  worker:22        no
		lan      icmp worker6          no
		host     tcp  worker:22        yes  which is how jobs get in
		host     udp  worker:22        yes
	`)
	serveFlows(t, world, all)
	requireFlows(t, world, all)
}

// looking is a guard that puts nothing back by itself.
func looking(t *testing.T, island *Island) *guard {
	t.Helper()
	table := island.guard.table
	require.NoError(t, island.unwatch())
	g := &guard{
		table: table, log: island.log, changed: make(chan changes.Rules),
		ended: make(chan struct{}), mended: make(chan struct{}),
	}
	island.guard = g
	t.Cleanup(func() { island.guard = nil })
	return g
}

// Acquire waits for the table, and so does whoever asks before a worker is shown.
func TestNoWorkerIsHandedOutWithoutTheHostsRules(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	acquire(t, island, "p-bbbbbbbb")
	guard := looking(t, island)
	before := snapshot(t, island)
	require.NoError(t, flush())

	ctx, giveUp := context.WithCancel(t.Context())
	var group errgroup.Group
	group.Go(func() error {
		_, err := island.Acquire(ctx, "p-aaaaaaaa")
		return err
	})
	name, err := island.name("p-aaaaaaaa")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return slices.Contains(island.leases.names(), name) }, patience, time.Millisecond)
	giveUp() // it is made, and is not handed out
	err = group.Wait()
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "waiting for nftables table inet mayfly-"+island.scope+", which somebody has removed")
	require.ErrorContains(t, island.Await(ctx, "p-bbbbbbbb"), "which somebody has removed")

	group = errgroup.Group{}
	group.Go(func() error {
		_, err := island.Acquire(t.Context(), "p-cccccccc")
		return err
	})
	group.Go(func() error { return island.Await(t.Context(), "p-bbbbbbbb") })
	guard.mend(t.Context(), new(storm), changes.Rules{By: "a test"})
	require.NoError(t, group.Wait())
	require.NoError(t, island.Release(t.Context(), "p-cccccccc"))
	require.Equal(t, before, snapshot(t, island), "what could not be had left nothing")
}

func TestAWorkerWithoutItsOwnRulesIsNotReady(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	lease := acquire(t, island, "p-aaaaaaaa")
	require.NoError(t, island.Await(t.Context(), "p-aaaaaaaa"))
	require.NoError(t, Do(lease.Namespace, func() error { return firewall.Remove(firewall.NamespaceTable) }))
	require.ErrorContains(t, island.Await(t.Context(), "p-aaaaaaaa"), "has lost its firewall rules")
	half := acquire(t, island, "p-cccccccc")
	require.NoError(t, Do(half.Namespace, func() error {
		return exec.Command("nft", "flush chain inet mayfly forward").Run()
	}))
	require.ErrorContains(t, island.Await(t.Context(), "p-cccccccc"),
		"of its namespace mf"+island.scope+"cccccccc is incomplete")
	require.Error(t, island.Await(t.Context(), "p-bbbbbbbb"), "it has no lease")
}

func TestWhoRemovedTheRulesIsLogged(t *testing.T) {
	newInternet(t)
	for _, harm := range []string{"flush ruleset", "delete table inet mayfly-%s", "flush chain inet mayfly-%s admit"} {
		lines := make(chan string, 100)
		options := testOptions(t, "p")
		options.Log = toLines(lines)
		island := openIsland(t, options)
		shell(t, "nft "+strings.ReplaceAll(harm, "%s", island.scope))
		requireLine(t, lines, "removed the pool's firewall rules", "table=mayfly-"+island.scope, `by="nft (pid `, "missing_for=")
		require.NoError(t, island.Close(t.Context()))
	}
}

// The guard is held up after it has put the table back, by a log that nobody reads:
// it hears of its own change when the table is gone again.
func TestWhoRemovedTheRulesAgainIsLogged(t *testing.T) {
	newInternet(t)
	lines := make(chan string)
	options := testOptions(t, "p")
	options.Log = slog.New(slog.NewTextHandler(lineWriter(func(line string) {
		select {
		case lines <- line:
		case <-t.Context().Done(): // it failed
		}
	}), nil))
	island := openIsland(t, options)
	require.NoError(t, flush())
	require.Eventually(t, func() bool {
		return strings.Contains(ruleset(t, hostNamespace), "mayfly-"+island.scope)
	}, patience, time.Millisecond)
	require.NoError(t, flush())
	for range 2 {
		requireLine(t, lines, "removed the pool's firewall rules", `by="nft (pid `)
	}
}

// noDescriptors lets nothing of this process be opened until goOn.
func noDescriptors(t *testing.T) (goOn func()) {
	t.Helper()
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	none := limit
	none.Cur = 3
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &none))
	goOn = sync.OnceFunc(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) })
	t.Cleanup(goOn)
	return goOn
}

func TestRulesThatCannotBeSeenAreNotLost(t *testing.T) {
	newInternet(t)
	lines := make(chan string, 1000)
	options := testOptions(t, "p")
	options.Log = toLines(lines)
	island := openIsland(t, options)
	guard := island.guard
	acquire(t, island, "p-aaaaaaaa")

	goOn := noDescriptors(t)
	guard.changed <- changes.Rules{Missed: true, By: "a test"}
	requireLine(t, lines, "cannot be looked at", "too many open files", "again_in=")
	ctx, giveUp := context.WithCancel(t.Context())
	giveUp()
	err := island.Await(ctx, "p-aaaaaaaa")
	require.ErrorIs(t, err, context.Canceled, "it is waited for")
	require.ErrorIs(t, err, unix.EMFILE)
	goOn()
	require.NoError(t, island.Await(t.Context(), "p-aaaaaaaa"))
	require.NoError(t, island.unwatch())
	for len(lines) > 0 {
		require.NotContains(t, <-lines, "removed the pool's firewall rules")
	}
}

// What the pool does itself is not mended.
func TestOwnChangesAreNotTakenForThoseOfOthers(t *testing.T) {
	newInternet(t)
	trouble := new(complaints)
	options := testOptions(t, "p")
	options.Log = slog.New(slog.NewTextHandler(trouble, nil))
	island, err := New(options)
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, island.Open(t.Context()))
		_, err := island.Acquire(t.Context(), "p-aaaaaaaa")
		require.NoError(t, err)
		require.NoError(t, island.Release(t.Context(), "p-aaaaaaaa"))
	}
	require.NoError(t, island.Close(t.Context()))
	require.NoError(t, trouble.err())
	require.NotContains(t, ruleset(t, hostNamespace), firewall.HostTable(island.scope))
}

func TestCloseEndsAllThatOpenBegan(t *testing.T) {
	newInternet(t)
	before := goleak.IgnoreCurrent()
	sockets := countSockets(t)
	for range 5 {
		island, err := New(testOptions(t, "p"))
		require.NoError(t, err)
		require.NoError(t, island.Open(t.Context()))
		require.NoError(t, flush())
		_, err = island.Acquire(t.Context(), "p-aaaaaaaa")
		require.NoError(t, err)
		require.NoError(t, island.Release(t.Context(), "p-aaaaaaaa"))
		require.NoError(t, island.Close(t.Context()))
	}
	goleak.VerifyNone(t, before)
	require.LessOrEqual(t, countSockets(t), sockets, "those of links that are still being removed may have gone")
}

func countSockets(t *testing.T) (n int) {
	t.Helper()
	open, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, fd := range open {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

func TestStormsAreBounded(t *testing.T) {
	var s storm
	now := time.Now()
	lose := func() (pause time.Duration) {
		pause = s.pause(now)
		now = now.Add(pause)
		s.over(now)
		return pause
	}
	for range atOnceBack {
		require.Zero(t, lose())
	}
	want := shortestPause
	for range 20 {
		require.Equal(t, want, lose())
		want = min(2*want, longestPause)
	}
	now = now.Add(leftAlone + 1)
	require.Zero(t, lose(), "that was another one")
}

// Somebody flushes again and again: the pool stays closed in between, and open
// when that ends.
func TestTheRulesAreBackAfterAStorm(t *testing.T) {
	internet := newInternet(t)
	serve(t, internet, public+":80")
	lines := make(chan string, 1000)
	options := testOptions(t, "p")
	options.Log = toLines(lines)
	island := openIsland(t, options)
	guest := newGuest(t, acquire(t, island, "p-aaaaaaaa"))
	stop, flushing := make(chan struct{}), errgroup.Group{}
	flushing.Go(func() error {
		for {
			select {
			case <-stop:
				return nil
			default:
				if err := flush(); err != nil {
					return err
				}
			}
		}
	})
	requireLine(t, lines, "somebody keeps removing", "again_in=")
	close(stop)
	require.NoError(t, flushing.Wait())
	requireReaches(t, guest, public+":80", hostWAN)
}

// A reload of sysctl.conf, say.
func TestForwardingThatIsSwitchedOffIsSwitchedOnAgain(t *testing.T) {
	world := newFlowWorld(t)
	lines := make(chan string, 1000)
	options := flowOptions(t, "p")
	options.Log = toLines(lines)
	island := openIsland(t, options)
	addWorker(t, world, island, "p-aaaaaaaa", "worker")
	name, err := island.name("p-aaaaaaaa")
	require.NoError(t, err)
	guest := world["worker"].namespace
	serve(t, world["internet"].namespace, public+":80")
	serve(t, world["internet"].namespace, "["+public6+"]:80")
	require.Equal(t, hostWAN, seenAs(t, guest, public+":80"))
	requireForwarding(t, false, "ip_forward")
	for _, setting := range []string{
		"net.ipv4.conf." + name + ".forwarding", "net.ipv4.conf.wan0.forwarding",
		"net.ipv4.conf.all.forwarding", "net.ipv4.ip_forward",
		"net.ipv6.conf.all.forwarding", "net.ipv6.conf.all.force_forwarding",
		"net.ipv6.conf." + name + ".force_forwarding", "net.ipv6.conf.wan0.force_forwarding",
	} {
		path := strings.Split(strings.TrimPrefix(setting, "net."), ".")
		if _, err := readSysctl(path...); errors.Is(err, fs.ErrNotExist) {
			continue // it came with Linux 6.17
		}
		require.NoError(t, setSysctl("1", path...), setting) // it may be off, and then nothing changes
		require.NoError(t, setSysctl("0", path...), setting)
		wayOut(t, guest, public+":80", "["+public6+"]:80")
	}
	requireLine(t, lines, "forwarding was off", name+" (IPv4)")
	require.NoError(t, island.Release(t.Context(), "p-aaaaaaaa"))
	require.NoError(t, island.Close(t.Context()))
	requireForwarding(t, false, "conf", "wan0", "forwarding")
}

// Addresses that the host loses are no longer denied, and those of the local table
// that are no addresses are.
func TestLeasesFollowTheHost(t *testing.T) {
	newInternet(t)
	options := testOptions(t, "p")
	options.IPv6.On = true
	island := openIsland(t, options)
	names := workers("p", 3)
	acquireAll(t, island, names)
	requireHost := func(holds bool, address string) {
		t.Helper()
		for _, id := range names {
			name, err := island.name(id)
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				return strings.Contains(ruleset(t, namespacePath(name)), address) == holds
			}, patience, 10*time.Millisecond)
		}
	}
	requireHost(true, hostWAN)
	requireHost(true, "203.0.113.255") // a broadcast is heard
	for _, change := range []struct{ add, remove, address string }{
		{"ip addr add 192.0.2.7/24 dev wan0", "ip addr del 192.0.2.7/24 dev wan0", "192.0.2.7"},
		{"ip addr add 192.0.2.7/24 dev wan0", "ip addr del 192.0.2.7/24 dev wan0", "192.0.2.255"},
		{"ip -6 addr add 2001:db8:5::7/64 dev wan0 nodad", "ip -6 addr del 2001:db8:5::7/64 dev wan0", "2001:db8:5::7"},
		{"ip route add local 198.51.100.64/26 dev lo", "ip route del local 198.51.100.64/26 dev lo", "198.51.100.64/26"},
	} {
		shell(t, change.add)
		requireHost(true, change.address)
		shell(t, change.remove)
		requireHost(false, change.address)
	}
}

func TestWorkersWithoutTheirRulesAreFound(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	other, err := New(island.options)
	require.NoError(t, err)
	requireUnguarded := func(want map[string]string) {
		t.Helper()
		found, err := other.Unguarded(t.Context())
		require.NoError(t, err, "from another process")
		require.Equal(t, want, found)
	}
	lease := acquire(t, island, "p-aaaaaaaa")
	acquire(t, island, "p-bbbbbbbb")
	requireUnguarded(map[string]string{})
	require.NoError(t, Do(lease.Namespace, func() error { return firewall.Remove(firewall.NamespaceTable) }))
	inside := "nftables table inet mayfly of its namespace is missing"
	requireUnguarded(map[string]string{"p-aaaaaaaa": inside})
	require.NoError(t, island.unwatch())
	host := firewall.HostTable(island.scope)
	shell(t, "nft flush chain inet "+host+" admit")
	requireUnguarded(map[string]string{
		"p-aaaaaaaa": inside, "p-bbbbbbbb": "nftables table inet " + host + " of the host is incomplete",
	})
	lacking, err := other.Lacking(t.Context())
	require.NoError(t, err)
	require.Equal(t, "nftables table inet "+host+" is incomplete", lacking)
	require.NoError(t, flush())
	requireUnguarded(map[string]string{
		"p-aaaaaaaa": inside, "p-bbbbbbbb": "nftables table inet " + host + " of the host is missing",
	})
}

func TestDoctorNamesAConfigurationThatFlushes(t *testing.T) {
	root := t.TempDir()
	require.Equal(t, doctor.OK, findFlushes(root).Level)
	require.NoError(t, os.Mkdir(filepath.Join(root, "etc"), 0o700))
	conf := "#!/usr/sbin/nft -f\nflush ruleset\ntable inet filter {\n}\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/nftables.conf"), []byte(conf), 0o600))
	finding := findFlushes(root)
	require.Equal(t, doctor.Warning, finding.Level)
	require.Contains(t, finding.Detail, `/etc/nftables.conf says "flush ruleset"`)
	require.Contains(t, finding.Mend, "table inet filter\ndelete table inet filter")

	require.NoError(t, os.Mkdir(filepath.Join(root, "etc/nftables.nft"), 0o700))
	finding = findFlushes(root)
	require.Contains(t, finding.Detail, `/etc/nftables.conf says "flush ruleset"`)
	require.Contains(t, finding.Detail, "/etc/nftables.nft: is a directory",
		"what cannot be read hides nothing, and is said")
}
