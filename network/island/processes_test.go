//go:build linux

package island

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// playing says as which other plugin process the test binary runs, part what
// it shall do.
const (
	playing = "MAYFLY_TEST_ROLE"
	part    = "MAYFLY_TEST_PART"
)

// processPatience is for one that hangs, on however slow a machine.
const processPatience = 10 * time.Minute

// play is a process that shares the tests' host. It tests nothing itself: it
// fails by its exit code.
func play(role string) int {
	roles := map[string]func([]byte) error{"takes and gives": takeAndGive, "dies": setUpAndDie}
	if err := roles[role]([]byte(os.Getenv(part))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process starts the test binary again, within the same namespaces.
func process(t *testing.T, role string, what any) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(what)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), processPatience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), playing+"="+role, part+"="+string(text))
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	return cmd
}

// playedOptions are those of testOptions, for a process without a test.
func playedOptions(pool, addresses string) Options {
	return Options{
		PoolDir: filepath.Join("/var/lib/mayfly/pools", pool), Pool: pool, AddressDir: addresses,
		Subnet: netip.MustParsePrefix(subnet), Policy: network.Policy{DNS: []netip.Addr{netip.MustParseAddr(resolver)}},
	}
}

// 1,000 leases in all, of a subnet with one address more than are held.
const (
	processes  = 4
	perProcess = 250
	held       = 3
	crowded    = "10.86.0.0/28"
)

// taker is one of the processes: a pool of its own beside the others'.
type taker struct{ Pool, Addresses, Witnesses string }

func TestProcessesTakeAndGiveBackAThousandLeases(t *testing.T) {
	newInternet(t)
	watcher := watchCrowded(t)
	before := snapshot(t, watcher)
	witnesses := t.TempDir()
	var running []*exec.Cmd
	for _, pool := range []string{"p", "q", "r", "s"} {
		cmd := process(t, "takes and gives", taker{pool, watcher.options.AddressDir, witnesses})
		require.NoError(t, cmd.Start())
		running = append(running, cmd)
	}
	require.Len(t, running, processes)
	for _, cmd := range running {
		require.NoError(t, cmd.Wait())
	}

	require.Equal(t, before, snapshot(t, watcher))
	requireForwarding(t, false, "conf", "wan0", "forwarding")
	for range network.Subnet(watcher.options.Subnet).Capacity() {
		_, err := watcher.book.Take(t.Context(), "all/of-them")
		require.NoError(t, err, "an address is lost")
	}
}

// watchCrowded is nobody's pool: it looks at the book that the processes share.
func watchCrowded(t *testing.T) *Island {
	t.Helper()
	options := testOptions(t, "watcher")
	options.Subnet = netip.MustParsePrefix(crowded)
	island, err := New(options)
	require.NoError(t, err)
	return island
}

// takeAndGive keeps a few leases at a time.
func takeAndGive(part []byte) error {
	var me taker
	if err := json.Unmarshal(part, &me); err != nil {
		return err
	}
	trouble := new(complaints)
	options := playedOptions(me.Pool, me.Addresses)
	options.Subnet, options.Log = netip.MustParsePrefix(crowded), slog.New(slog.NewTextHandler(trouble, nil))
	island, err := New(options)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := island.Open(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(held)
	for _, worker := range workers(me.Pool, perProcess) {
		group.Go(func() error { return me.hold(ctx, island, worker) })
	}
	return errors.Join(group.Wait(), trouble.err(), island.Close(context.Background()))
}

// hold has one lease. That nobody else has its address is witnessed by a file
// that must not exist yet: two holders cannot both make it.
func (me taker) hold(ctx context.Context, island *Island, worker string) error {
	lease, err := island.Acquire(ctx, worker)
	if err != nil {
		return err
	}
	witness := filepath.Join(me.Witnesses, lease.Address.String())
	f, err := os.OpenFile(witness, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("%s has an address that is taken: %w", worker, err)
	}
	return errors.Join(f.Close(), leadsTo(lease), os.Remove(witness), island.Release(ctx, worker))
}

// leadsTo compares the host's route to the lease's address with its link.
func leadsTo(lease network.Lease) error {
	link, err := linkByName(filepath.Base(lease.Namespace))
	if err != nil {
		return err
	}
	routes, err := netlink.RouteGet(net.IP(lease.Address.AsSlice()))
	if err != nil {
		return fmt.Errorf("looking for the route to %s: %w", lease.Address, err)
	}
	if len(routes) != 1 || routes[0].LinkIndex != link.Attrs().Index {
		return fmt.Errorf("%s is not routed to %s but by %v", lease.Address, lease.Worker, routes)
	}
	return nil
}

// complaints is a log in which nothing is to be written: the book of addresses
// and the kernel's routes agree, or a lease would say so.
type complaints struct{ text []byte }

func (c *complaints) Write(line []byte) (int, error) {
	c.text = append(c.text, line...)
	return len(line), nil
}

func (c *complaints) err() error {
	if len(c.text) == 0 {
		return nil
	}
	return fmt.Errorf("this was logged:\n%s", c.text)
}
