//go:build linux

package island

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// hostFirewall is one that drops what passes through the host.
type hostFirewall struct {
	name string
	// tools are the programs that it is made of.
	tools []string
	// start and stop are scripts for a shell.
	start, stop string
	// guardsHost says that it also drops what is for the host.
	guardsHost bool
	// mend is what doctor's remedy must be.
	mend string
	// mended is a script that does the same where the remedy cannot be run.
	mended string
}

const noIPTables = "nft delete table ip filter; nft delete table ip6 filter 2>/dev/null || true"

var hostFirewalls = []hostFirewall{
	{
		name: "nft with a policy",
		start: `nft 'add table inet mine
			add chain inet mine guard { type filter hook forward priority 0; policy drop; }
			add rule inet mine guard iifname { "br0", "wan0" } ct state vmap { established: accept, related: accept, invalid: drop }'`,
		stop: "nft delete table inet mine",
		mend: `nft 'insert rule inet mine guard iifname "mf*" accept; ` +
			`insert rule inet mine guard oifname "mf*" ct state established,related accept' ` +
			`# to keep it: put these rules into /etc/nftables.conf`,
	},
	{
		name: "nft without a policy, at both hooks",
		start: `nft 'add table ip mine
			add chain ip mine through { type filter hook forward priority 0; }
			add rule ip mine through counter reject with icmp type admin-prohibited
			add chain ip mine to { type filter hook input priority 0; }
			add rule ip mine to ct state established,related accept
			add chain ip mine rest
			add rule ip mine rest counter drop
			add rule ip mine to jump rest'`,
		stop:       "nft delete table ip mine",
		guardsHost: true,
		mend: `nft 'insert rule ip mine through iifname "mf*" accept; ` +
			`insert rule ip mine through oifname "mf*" ct state established,related accept' && ` +
			`nft 'insert rule ip mine to iifname "mf*" udp dport 53 accept; ` +
			`insert rule ip mine to iifname "mf*" tcp dport 53 accept' ` +
			`# to keep it: put these rules into /etc/nftables.conf`,
	},
	{
		name:  "iptables",
		tools: []string{"iptables"},
		start: `iptables -P FORWARD DROP && iptables -P INPUT DROP &&
			iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT`,
		stop:       noIPTables,
		guardsHost: true,
		mend: "iptables -I FORWARD -i mf+ -j ACCEPT && " +
			"iptables -I FORWARD -o mf+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT && " +
			"iptables -I INPUT -i mf+ -p udp --dport 53 -j ACCEPT && " +
			"iptables -I INPUT -i mf+ -p tcp --dport 53 -j ACCEPT # to keep it: netfilter-persistent save",
	},
	{
		// The chains of Docker 28 on a host that did not forward before.
		name:  "Docker",
		tools: []string{"iptables"},
		start: `iptables -P FORWARD DROP
			for chain in DOCKER-USER DOCKER-FORWARD DOCKER-CT DOCKER-BRIDGE DOCKER; do iptables -N $chain; done
			iptables -A FORWARD -j DOCKER-USER
			iptables -A FORWARD -j DOCKER-FORWARD
			iptables -A DOCKER-FORWARD -j DOCKER-CT
			iptables -A DOCKER-FORWARD -j DOCKER-BRIDGE
			iptables -A DOCKER-FORWARD -i docker0 -j ACCEPT
			iptables -A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
			iptables -A DOCKER-BRIDGE -o docker0 -j DOCKER
			iptables -A DOCKER ! -i docker0 -o docker0 -j DROP`,
		stop: noIPTables,
		mend: "iptables -I DOCKER-USER -i mf+ -j ACCEPT && " +
			"iptables -I DOCKER-USER -o mf+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT " +
			"# to keep it: run this at each boot, after Docker has started",
	},
	{
		name:       "ufw",
		tools:      []string{"iptables", "ufw"},
		start:      "ufw --force enable",
		stop:       "ufw --force disable; " + noIPTables,
		guardsHost: true,
		mend:       "ufw route allow in on mf+ && ufw allow in on mf+ to any port 53",
	},
	{
		// As firewalld 1.3.3 of Debian 12 made them on a host with its defaults,
		// and what it made of them when the remedy was run there: it is a daemon
		// that wants a system's message bus.
		name:       "firewalld",
		start:      "nft -f testdata/firewalld.nft",
		stop:       "nft delete table inet firewalld",
		guardsHost: true,
		mend:       "firewall-cmd --permanent --zone=trusted --add-interface=mf+ && firewall-cmd --zone=trusted --add-interface=mf+",
		mended:     "nft delete table inet firewalld && nft -f testdata/firewalld-trusted.nft",
	},
}

func TestHostFirewallIsFoundAndItsRemedyWorks(t *testing.T) {
	for _, f := range hostFirewalls {
		t.Run(f.name, func(t *testing.T) { testHostFirewall(t, f) })
	}
}

func testHostFirewall(t *testing.T, f hostFirewall) {
	requireTools(t, f.tools...)
	internet := newInternet(t)
	serve(t, internet, public+":80")
	serve(t, hostNamespace, hostWAN+":53")
	options := testOptions(t, "p")
	options.DNS = []netip.Addr{netip.MustParseAddr(hostWAN)}
	island := openIsland(t, options)
	lease := acquire(t, island, "p-aaaaaaaa")
	guest := newGuest(t, lease)
	require.Equal(t, doctor.OK, island.findFirewall().Level)
	requireReaches(t, guest, public+":80", hostWAN)

	keepUFWsFiles(t)
	t.Cleanup(func() { shell(t, f.stop) })
	shell(t, f.start)
	requireRefused(t, guest, public+":80")
	if f.guardsHost {
		requireRefused(t, guest, network.Gateway.String()+":53")
	}
	finding := island.findFirewall()
	require.Equal(t, doctor.Warning, finding.Level, finding)
	require.Equal(t, f.mend, finding.Mend)

	if f.mended != "" {
		shell(t, f.mended)
	} else {
		shell(t, finding.Mend)
	}
	requireReaches(t, guest, public+":80", hostWAN)
	requireReaches(t, guest, network.Gateway.String()+":53", lease.Address.String())
	finding = island.findFirewall()
	require.Equal(t, doctor.OK, finding.Level, finding)
	require.Empty(t, finding.Mend)
}

// Rules for what is on its way to the host do not matter when nobody there
// answers workers.
func TestGuardedHostMattersOnlyToItsOwnResolver(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	shell(t, "nft 'add table inet mine; add chain inet mine to { type filter hook input priority 0; policy drop; }'")
	t.Cleanup(func() { shell(t, "nft delete table inet mine") })
	require.Equal(t, doctor.OK, island.findFirewall().Level)
}

func TestFirewallOfIPv6MattersToWorkersThatHaveIt(t *testing.T) {
	requireTools(t, "iptables", "ip6tables")
	world := newFlowWorld(t)
	serve(t, world["internet6"].namespace, "["+public6+"]:80")
	options := testOptions(t, "p")
	options.IPv6.On = true
	island := openIsland(t, options)
	addWorker(t, world, island, "p-aaaaaaaa", "worker")
	guest, address := world["worker"].namespace, "["+public6+"]:80"
	_, err := ask(guest, "tcp", address, patience)
	require.NoError(t, err)

	t.Cleanup(func() { shell(t, "nft delete table ip6 filter") })
	shell(t, "ip6tables -P FORWARD DROP")
	_, err = ask(guest, "tcp", address, impatience)
	require.Error(t, err)
	finding := island.findFirewall()
	require.Equal(t, doctor.Warning, finding.Level, finding)
	require.Equal(t, "ip6tables -I FORWARD -i mf+ -j ACCEPT && "+
		"ip6tables -I FORWARD -o mf+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT "+
		"# to keep it: netfilter-persistent save", finding.Mend)
	without, err := New(testOptions(t, "q"))
	require.NoError(t, err)
	require.Equal(t, doctor.OK, without.findFirewall().Level)

	shell(t, finding.Mend)
	_, err = ask(guest, "tcp", address, patience)
	require.NoError(t, err)
	finding = island.findFirewall()
	require.Equal(t, doctor.OK, finding.Level, finding)
}

// Whoever lets the workers' addresses pass has done it already; a LAN that is
// allowed wants it too.
func TestRulesForAddressesAndWays(t *testing.T) {
	newFlowWorld(t)
	options := testOptions(t, "p")
	island, err := New(options)
	require.NoError(t, err)
	options.Allow = destinations(t, printer+"/32")
	prints, err := New(options)
	require.NoError(t, err)
	t.Cleanup(func() { shell(t, "nft delete table ip mine") })
	shell(t, `nft 'add table ip mine
		add chain ip mine guard { type filter hook forward priority 0; policy drop; }
		add rule ip mine guard ct state established,related accept
		add chain ip mine workers
		add rule ip mine guard ip saddr 10.86.0.0/16 jump workers'`)
	for rules, levels := range map[string][]doctor.Level{
		"oifname wan0 accept":              {doctor.OK, doctor.Warning},
		"oifname lan0 accept":              {doctor.Warning, doctor.Warning},
		"oifname { lan0, wan0 } accept":    {doctor.OK, doctor.OK},
		"oifname != { lan0, wan0 } accept": {doctor.Warning, doctor.Warning},
	} {
		shell(t, "nft 'flush chain ip mine workers; add rule ip mine workers "+rules+"'")
		require.Equal(t, levels, []doctor.Level{island.findFirewall().Level, prints.findFirewall().Level}, rules)
	}
}

// requireRefused wants no answer: none at all, or a refusal.
func requireRefused(t *testing.T, from, address string) {
	t.Helper()
	for _, network := range []string{"tcp4", "udp4"} {
		seen, err := ask(from, network, address, impatience)
		require.Error(t, err, "%s to %s is answered: %s", network, address, seen)
	}
}

func requireTools(t *testing.T, tools ...string) {
	t.Helper()
	requireHost(t)
	need.Programs(t, tools...)
	if !slices.Contains(tools, "iptables") {
		return
	}
	if err := checkIPTables(); err != nil {
		need.Other(t, err.Error())
	}
}

// checkIPTables wants the one that speaks to nftables, as on most systems.
func checkIPTables() error {
	out, err := exec.Command("iptables", "--version").CombinedOutput()
	if err == nil && !strings.Contains(string(out), "nf_tables") {
		err = fmt.Errorf("iptables is not that of nftables but %s", out)
	}
	return err
}

// keepUFWsFiles lets the test write a copy of them, which no one else sees. It
// leaves out the settings of the kernel, which would stay.
func keepUFWsFiles(t *testing.T) {
	const files = "/etc/ufw"
	if _, err := os.Stat(files); err != nil {
		return
	}
	work := filepath.Join(t.TempDir(), "ufw")
	require.NoError(t, os.CopyFS(work, os.DirFS(files)))
	require.NoError(t, os.WriteFile(filepath.Join(work, "sysctl.conf"), nil, 0o644))
	require.NoError(t, unix.Mount(work, files, "", unix.MS_BIND, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(files, 0)) })
}

// The tables would stay in the namespace that all tests share, so they are made
// in another.
func TestTablesThatCannotBeSeenAreSaidToBeThere(t *testing.T) {
	requireTools(t, "iptables-legacy", "ip6tables-legacy")
	for _, tool := range []string{"iptables-legacy", "ip6tables-legacy"} { // which loads the kernel's part
		if out, err := exec.Command("unshare", "-n", tool, "-S").CombinedOutput(); err != nil {
			t.Skipf("the kernel has no iptables of old: %s", out)
		}
	}
	require.NoError(t, shareNamespaces(t.Context()))
	elsewhere := newNamespace(t, "legacy")
	options := testOptions(t, "p")
	island, err := New(options)
	require.NoError(t, err)
	options.IPv6.On = true
	island6, err := New(options)
	require.NoError(t, err)
	find := func(island *Island, script string) (found doctor.Finding) {
		require.NoError(t, Do(elsewhere, func() error {
			if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", script, err, out)
			}
			found = island.findFirewall()
			return nil
		}))
		return found
	}
	require.Equal(t, doctor.OK, find(island, "true").Level)
	require.Equal(t, doctor.OK, find(island, "ip6tables-legacy -P FORWARD DROP").Level)
	finding := find(island6, "true")
	require.Equal(t, doctor.Warning, finding.Level)
	require.Contains(t, finding.Mend, "ip6tables-legacy -S FORWARD")

	finding = find(island, "iptables-legacy -P FORWARD DROP")
	require.Equal(t, doctor.Warning, finding.Level)
	require.Equal(t, finding, find(island, finding.Mend))
}

func shell(t *testing.T, script string) {
	t.Helper()
	out, err := exec.Command("sh", "-c", script).CombinedOutput()
	require.NoError(t, err, "%s\n%s", script, strings.TrimSpace(string(out)))
}
