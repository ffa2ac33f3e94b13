//go:build linux

package changes

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what shall be heard.
const patience = time.Minute

func nft(t *testing.T, commands string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(commands)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// requireHeard waits for a change.
func requireHeard[T any](t *testing.T, heard <-chan T, is func(T) bool) T {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case change := <-heard:
			if is(change) {
				return change
			}
		case <-late:
			t.Fatal("it was not heard")
		}
	}
}

// roomFor are the changes that a channel holds before they block the listener.
const roomFor = 1000

func listenToRules(t *testing.T) <-chan Rules {
	heard := make(chan Rules, roomFor)
	l, err := OfRules(func(r Rules) { heard <- r })
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return heard
}

func TestRulesThatOthersChange(t *testing.T) {
	sandbox.EmptyNamespace(t, "nft")
	heard := listenToRules(t)
	for _, test := range []struct {
		commands string
		tables   []string
	}{
		{"add table inet a\nadd table inet b\nadd chain inet a c { type filter hook input priority 0; }", []string{"a", "b"}},
		{"add rule inet a c accept", []string{"a"}},
		{"add set inet b s { type ipv4_addr; }", []string{"b"}},
		{"add element inet b s { 10.0.0.1 }", nil},
		{"flush chain inet a c", []string{"a"}},
		{"flush ruleset", []string{"a", "b"}},
	} {
		nft(t, test.commands)
		change := requireHeard(t, heard, func(Rules) bool { return true })
		require.ElementsMatch(t, test.tables, change.Tables, test.commands)
		require.Regexp(t, `^nft \(pid [1-9]\d*\)$`, change.By)
		require.False(t, change.Missed)
	}
}

func TestRulesOfAnotherNamespaceAreNotHeard(t *testing.T) {
	sandbox.EmptyNamespace(t, "nft")
	heard := listenToRules(t)
	cmd := exec.Command("unshare", "-n", "nft", "add table inet elsewhere")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	nft(t, "add table inet here")
	require.Equal(t, []string{"here"}, requireHeard(t, heard, func(Rules) bool { return true }).Tables)
}

// A listener that is slow, with little room, and a change that is large.
func TestMissedIsSaid(t *testing.T) {
	sandbox.EmptyNamespace(t, "nft")
	heard, slow := make(chan Rules, roomFor), make(chan struct{})
	l, err := OfRules(func(r Rules) { <-slow; heard <- r })
	require.NoError(t, err)
	goOn := sync.OnceFunc(func() { close(slow) })
	t.Cleanup(func() {
		goOn() // or Close waits for ever
		require.NoError(t, l.Close())
	})
	require.NoError(t, l.conn.SetReadBuffer(1<<12))
	nft(t, "add table inet first")
	var many strings.Builder
	fmt.Fprintln(&many, "add table inet many\nadd chain inet many c")
	for range 500 {
		fmt.Fprintln(&many, "add rule inet many c ip saddr 10.0.0.1 accept")
	}
	nft(t, many.String())
	goOn()
	require.True(t, requireHeard(t, heard, func(r Rules) bool { return r.Missed }).Missed)
	nft(t, "add table inet last")
	require.Contains(t, requireHeard(t, heard, func(r Rules) bool { return !r.Missed && len(r.Tables) > 0 }).Tables, "last")
}

// A deadline in the past has every read fail.
func TestAnErrorDoesNotEndTheListener(t *testing.T) {
	sandbox.EmptyNamespace(t, "nft")
	heard := make(chan Rules, roomFor)
	l, err := OfRules(func(r Rules) { heard <- r })
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	require.NoError(t, l.conn.SetReadDeadline(time.Unix(1, 0)))
	for range 2 {
		requireHeard(t, heard, func(r Rules) bool { return r.Missed })
	}
	require.NoError(t, l.conn.SetReadDeadline(time.Time{}))
	for later := 0; ; later++ { // what comes before the last failure is drained
		nft(t, fmt.Sprintf("add table inet later%d", later))
		if len(requireHeard(t, heard, func(Rules) bool { return true }).Tables) > 0 {
			return
		}
	}
}

func TestWhereTheHostHears(t *testing.T) {
	sandbox.EmptyNamespace(t)
	heard := make(chan Links, roomFor)
	l, err := OfLinks(func(c Links) { heard <- c })
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(lo))
	for _, text := range []string{"203.0.113.2/24", "2001:db8::2/64"} {
		prefix := netip.MustParsePrefix(text)
		addr := &netlink.Addr{IPNet: &net.IPNet{
			IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
		}}
		single := netip.PrefixFrom(prefix.Addr(), prefix.Addr().BitLen())
		isIt := func(c Links) bool { return c.Heard == single }
		require.NoError(t, netlink.AddrAdd(lo, addr))
		requireHeard(t, heard, isIt)
		require.NoError(t, netlink.AddrDel(lo, addr))
		requireHeard(t, heard, isIt)
	}
}

func TestRoutesOfTheMainTable(t *testing.T) {
	sandbox.EmptyNamespace(t, "ip")
	heard := make(chan Links, roomFor)
	l, err := OfLinks(func(c Links) { heard <- c })
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	ip := func(words string) {
		out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	ip("link set lo up")
	isRouted := func(c Links) bool { return c.Routed.IsValid() }
	for _, test := range []struct{ route, to string }{
		{"route %s default dev lo", "0.0.0.0/0"},
		{"route %s 198.51.100.0/24 dev lo", "198.51.100.0/24"},
		{"-6 route %s default dev lo", "::/0"},
		{"-6 route %s 2001:db8:1::/64 dev lo", "2001:db8:1::/64"},
	} {
		for _, verb := range []string{"add", "del"} {
			ip("route " + verb + " 192.0.2.0/24 dev lo table 100") // which is not heard
			ip(strings.ReplaceAll(test.route, "%s", verb))
			require.Equal(t, netip.MustParsePrefix(test.to), requireHeard(t, heard, isRouted).Routed)
		}
	}
}

// requireAllHeard takes what was told up to now: changes are heard in their order.
func requireAllHeard(t *testing.T, heard <-chan Links) {
	t.Helper()
	for _, verb := range []string{"add", "del"} {
		out, err := exec.Command("ip", "route", verb, "local", "192.0.2.1", "dev", "lo").CombinedOutput()
		require.NoError(t, err, string(out))
		requireHeard(t, heard, func(c Links) bool { return c.Heard == netip.MustParsePrefix("192.0.2.1/32") })
	}
}

func TestLinksThatCeaseToForward(t *testing.T) {
	sandbox.EmptyNamespace(t, "ip")
	heard := make(chan Links, roomFor)
	l, err := OfLinks(func(c Links) { heard <- c })
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	for _, setting := range []struct {
		path  string
		index int
	}{
		{"ipv4/conf/lo/forwarding", lo.Attrs().Index},
		{"ipv4/conf/all/forwarding", AllLinks},
		{"ipv4/ip_forward", lo.Attrs().Index},
		{"ipv6/conf/all/forwarding", lo.Attrs().Index},
		{"ipv6/conf/lo/force_forwarding", lo.Attrs().Index},
		{"ipv6/conf/all/force_forwarding", AllLinks},
	} {
		file := filepath.Join("/proc/sys/net", setting.path)
		if _, err := os.Stat(file); os.IsNotExist(err) {
			continue // a kernel before Linux 6.17
		}
		require.NoError(t, os.WriteFile(file, []byte("1"), 0o644), file)
		requireAllHeard(t, heard)
		require.NoError(t, os.WriteFile(file, []byte("0"), 0o644), file)
		requireHeard(t, heard, func(c Links) bool { return c.Unforwarding == setting.index })
		requireAllHeard(t, heard)
	}
}
