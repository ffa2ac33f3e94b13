//go:build linux

package island

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// crashes is how often a process is killed while it makes setUps leases.
	crashes = 5
	setUps  = 50
	// hesitation is how long a process may live on after the lease that is
	// the last one to be waited for: about as long as one takes.
	hesitation = 20 * time.Millisecond
)

// victim is a process that dies: when so many leases are made, and a bit later.
type victim struct {
	Pool, Addresses string
	After           int64
	Later           time.Duration
}

func TestWhatAKilledProcessLeavesIsRemovedAtTheNextStart(t *testing.T) {
	newInternet(t)
	foreign := newForeign(t)
	testCrashes(t, foreign)
	requireForwarding(t, false, "conf", "wan0", "forwarding")
}

// The other pool has a state directory of its own.
func TestWhatAKilledProcessLeavesIsRemovedBesideAnotherPool(t *testing.T) {
	if testing.Short() {
		t.Skip("kills a process at every step, which takes half a minute")
	}
	internet := newInternet(t)
	serve(t, internet, public+":80")
	foreign := newForeign(t)
	guest := newGuest(t, acquire(t, openIsland(t, testOptions(t, "other")), "other-aaaaaaaa"))
	testCrashes(t, foreign)
	requireForwarding(t, true, "conf", "wan0", "forwarding")
	requireReaches(t, guest, public+":80", hostWAN)
}

func testCrashes(t *testing.T, foreign string) {
	options := testOptions(t, "p")
	island, err := New(options)
	require.NoError(t, err)
	before, left := world(t, island, foreign), 0
	for round := range crashes {
		dies := victim{options.Pool, options.AddressDir, rand.Int64N(setUps), rand.N(hesitation)}
		if round == 0 {
			dies.After = 0
		}
		t.Logf("killed with %d leases made, and %v later", dies.After, dies.Later)
		requireKilled(t, process(t, "dies", dies))
		left += recoverLeases(t, options)
		require.Equal(t, before, world(t, island, foreign))
	}
	require.Greater(t, left, setUps/2, "the processes had hardly begun")
}

// newForeign puts things of others on the host: a namespace, returned, with a
// link that has addresses and routes, and a table.
func newForeign(t *testing.T) (namespace string) {
	namespace = newNeighbour(t, "foreign", "foreign0", "192.0.2.1", "192.0.2.2")
	addAddress(t, hostNamespace, "foreign0", "192.0.2.77/32")
	for _, command := range []string{
		"ip route add 198.51.100.128/25 via 192.0.2.2",
		"ip route add 10.86.200.0/24 via 192.0.2.2 table 77",
		"nft add table ip foreign",
		"nft add set ip foreign friends { type ipv4_addr; elements = { 10.86.0.2 }; }",
		"nft add chain ip foreign guard { type filter hook forward priority 0; policy accept; }",
		"nft add rule ip foreign guard ip daddr 192.0.2.99 drop",
	} {
		words := strings.Fields(command)
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		require.NoError(t, err, "%s: %s", command, out)
	}
	t.Cleanup(func() { require.NoError(t, exec.Command("nft", "delete", "table", "ip", "foreign").Run()) })
	return namespace
}

// world is what the host and a namespace of others look like, and what is
// noted about forwarding.
func world(t *testing.T, island *Island, foreign string) string {
	t.Helper()
	text := snapshot(t, island) + policyRules(t) + ruleset(t, foreign)
	require.NoError(t, Do(foreign, func() error {
		out, err := exec.Command("sh", "-c", "ip -4 -o addr && ip -4 route show table all").CombinedOutput()
		text += string(out)
		return err
	}), text)
	dir, err := notes()
	require.NoError(t, err)
	noted, err := os.ReadDir(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
	return text + fmt.Sprint(noted)
}

func requireKilled(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var ended *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &ended)
	require.Equal(t, syscall.SIGKILL, ended.Sys().(syscall.WaitStatus).Signal())
}

// recoverLeases does what a pool does with its network when it starts, and
// ends then. It returns how many leases there were.
func recoverLeases(t *testing.T, o Options) int {
	t.Helper()
	island, err := New(o)
	require.NoError(t, err)
	require.NoError(t, island.Open(t.Context()))
	found := find(t, island)
	require.NoError(t, forEach(found, func(id string) error { return island.Release(t.Context(), id) }))
	require.Empty(t, find(t, island))
	require.NoError(t, island.Close(t.Context()))
	return len(found)
}

// setUpAndDie makes all leases at once, gives some of them back, and is killed
// meanwhile.
func setUpAndDie(part []byte) error {
	var me victim
	if err := json.Unmarshal(part, &me); err != nil {
		return err
	}
	var made atomic.Int64
	go func() {
		for made.Load() < me.After {
			time.Sleep(100 * time.Microsecond)
		}
		time.Sleep(me.Later)
		unix.Kill(os.Getpid(), unix.SIGKILL)
	}()
	island, err := New(playedOptions(me.Pool, me.Addresses))
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := island.Open(ctx); err != nil {
		return err
	}
	var group errgroup.Group
	for n, worker := range workers(me.Pool, setUps) {
		group.Go(func() error {
			_, err := island.Acquire(ctx, worker)
			made.Add(1)
			if err == nil && n%3 == 0 {
				err = island.Release(ctx, worker)
			}
			return err
		})
	}
	err = group.Wait()
	time.Sleep(patience)
	return errors.Join(err, errors.New("nobody killed it"))
}
