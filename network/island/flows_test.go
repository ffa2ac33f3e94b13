//go:build linux

package island

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// flows are who reaches whom, as which protocol, where the policy is that of
// flowOptions. A name that ends in 6 is for IPv6.
const flows = `
	worker  tcp    internet:80        yes
	worker  tcp    internet:443       yes
	worker  udp    internet:5000      yes
	worker  icmp   internet           yes
	worker  other  internet           yes
	worker  pieces internet:5000      yes
	worker  udp    internet:53        yes
	worker  honest internet:5001      yes   seen where it arrives
	worker  spoofed internet:5002     no    with a source that nobody gave it
	worker  spoofed host:5002         no
	worker  spoofed printer:5002      no
	worker  tcp    internet:587       yes
	worker  tcp    internet:25        no    server to server mail
	worker  udp    internet:25        yes   is no mail
	worker  tcp    banned:443         no    in deny
	worker  icmp   banned             no
	worker  other  banned             no
	worker  tcp    banned:8443        yes   in allow, with this port
	worker  udp    banned:8443        no
	worker  tcp    banned:6010        yes   in allow, with these ports
	worker  tcp    banned:6020        no
	worker  tcp    lan:80             no    private
	worker  udp    lan:80             no
	worker  icmp   lan                no
	worker  other  lan                no
	worker  pieces lan:5000           no
	worker  tcp    printer:80         yes   private, in allow
	worker  icmp   printer            yes
	worker  tcp    metadata:80        no
	worker  udp    metadata:80        no
	worker  icmp   metadata           no
	worker  tcp    azure:80           no    metadata at a public address
	worker  tcp    alibaba:80         no    metadata at a shared address
	worker  tcp    resolver:53        no    private, but by the gateway
	worker  udp    resolver:53        no
	worker  tcp    gateway:53         yes
	worker  udp    gateway:53         yes
	worker  tcp    gateway:22         no
	worker  icmp   gateway            no
	worker  tcp    host:22            no
	worker  udp    host:53            no
	worker  icmp   host               no
	worker  tcp    host-lan:22        no
	worker  tcp    host-inside:22     no
	worker  icmp   host-inside        no
	worker  tcp    other-worker:22    no
	worker  udp    other-worker:22    no
	worker  icmp   other-worker       no
	worker  tcp    itself:22          no    by the address that it has outside
	worker  udp    itself:22          no

	worker  tcp    internet6:80       yes
	worker  udp    internet6:5000     yes
	worker  icmp   internet6          yes
	worker  pieces internet6:5000     yes
	worker  honest internet6:5001     yes
	worker  spoofed internet6:5002    no
	worker  spoofed host6:5002        no
	worker  tcp    internet6:25       no
	worker  tcp    banned6:443        no
	worker  tcp    banned6:8443       yes
	worker  icmp   banned6            no
	worker  tcp    lan6:80            no
	worker  udp    lan6:80            no
	worker  icmp   lan6               no
	worker  tcp    metadata6:80       no
	worker  tcp    host6:22           no
	worker  icmp   host6              no
	worker  tcp    host-inside6:22    no
	worker  tcp    gateway6:53        no
	worker  icmp   gateway6           no
	worker  tcp    other-worker6:22   no
	worker  icmp   other-worker6      no

	host     tcp   worker:22          yes
	host     udp   worker:22          yes
	host     tcp   other-worker:22    yes
	host     tcp   internet:80        yes
	host     tcp   lan:80             yes
	host     tcp   internet6:80       yes
	host     udp   lan6:80            yes
	lan      tcp   host-lan:22        yes
	internet tcp   host:22            yes
	internet tcp   worker:22          no
	internet udp   worker:22          no
	internet icmp  worker             no
	internet tcp   worker6:22         no
	internet icmp  worker6            no
	lan      tcp   worker:22          no
	lan      udp   worker:22          no
	lan      icmp  worker             no
	lan      icmp  worker6            no
	other-worker tcp worker:22        no
	other-worker tcp internet:80      yes
	other-worker tcp internet6:80     yes
`

// Addresses of the world beyond those of newInternet.
const (
	hostWAN6  = "2001:db8:ffff::2"
	isp6      = "2001:db8:ffff::1"
	public6   = "2001:db8::7"
	banned    = "203.0.114.7"
	banned6   = "2001:db8:bad::7"
	hostLAN   = "192.168.77.1"
	lanPC     = "192.168.77.2"
	printer   = "192.168.77.3"
	hostLAN6  = "fd00:77::1"
	lanPC6    = "fd00:77::2"
	metadata  = "169.254.169.254"
	metadata6 = "fd00:ec2::254"
	azure     = "168.63.129.16"
	alibaba   = "100.100.100.200"
)

func flowOptions(t testing.TB, pool string) Options {
	options := testOptions(t, pool)
	options.IPv6 = network.IPv6{On: true}
	options.Allow = destinations(t, banned+"/32 tcp/8443", banned6+"/128 tcp/8443", "tcp/6000-6010", printer+"/32")
	options.Deny = append(network.DefaultDeny(), destinations(t, banned+"/32", banned6+"/128")...)
	options.Connections, options.ConnectionRate, options.Bandwidth = 1000, 1000, 1e9
	return options
}

func destinations(t testing.TB, texts ...string) []network.Destination {
	t.Helper()
	var all []network.Destination
	for _, text := range texts {
		some, err := network.ParseDestinations(text)
		require.NoError(t, err)
		all = append(all, some...)
	}
	return all
}

// place is where an address is, or where a flow begins.
type place struct{ namespace, address string }

type flow struct {
	from, protocol, to string
	port               uint16
	arrives            bool
}

func (f flow) String() string { return fmt.Sprintf("%s %s %s:%d", f.from, f.protocol, f.to, f.port) }

func parseFlows(t *testing.T, text string) []flow {
	t.Helper()
	var all []flow
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		f := flow{from: fields[0], protocol: fields[1], to: fields[2], arrives: fields[3] == "yes"}
		require.Contains(t, []string{"yes", "no"}, fields[3], line)
		if to, port, ok := strings.Cut(f.to, ":"); ok {
			_, err := fmt.Sscan(port, &f.port)
			require.NoError(t, err, line)
			f.to = to
		}
		all = append(all, f)
	}
	return all
}

// newFlowWorld has the places of flows, but for the workers.
func newFlowWorld(t *testing.T) map[string]place {
	internet := newInternet(t)
	lan := newNeighbour(t, "office", "lan0", hostLAN, lanPC)
	addAddresses(t, internet, "lo", banned+"/32", metadata+"/32", azure+"/32", alibaba+"/32",
		public6+"/128", banned6+"/128", metadata6+"/128")
	addAddresses(t, internet, "up0", isp6+"/64")
	addAddresses(t, hostNamespace, "wan0", hostWAN6+"/64")
	addAddresses(t, lan, "up0", lanPC6+"/64", printer+"/24")
	addAddresses(t, hostNamespace, "lan0", hostLAN6+"/64")
	routeBy(t, hostNamespace, "wan0", isp6)
	routeBy(t, lan, "up0", hostLAN)
	routeBy(t, lan, "up0", hostLAN6)
	for _, to := range []string{subnet, translated.String()} {
		gateway := hostWAN
		if strings.Contains(to, ":") {
			gateway = hostWAN6
		}
		require.NoError(t, Do(internet, func() error {
			return netlink.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix(to)), Gw: net.ParseIP(gateway)})
		}))
	}
	return map[string]place{
		"internet": {internet, public}, "internet6": {internet, public6},
		"banned": {internet, banned}, "banned6": {internet, banned6},
		"metadata": {internet, metadata}, "metadata6": {internet, metadata6},
		"azure": {internet, azure}, "alibaba": {internet, alibaba}, "resolver": {internet, resolver},
		"lan": {lan, lanPC}, "lan6": {lan, lanPC6}, "printer": {lan, printer},
		"host": {hostNamespace, hostWAN}, "host6": {hostNamespace, hostWAN6}, "host-lan": {hostNamespace, hostLAN},
		"gateway": {"", network.Gateway.String()}, "gateway6": {"", network.Gateway6.String()},
	}
}

// addWorker puts a worker and what it is called outside into the world.
func addWorker(t *testing.T, world map[string]place, island *Island, id, name string) {
	lease := acquire(t, island, id)
	guest := newGuest(t, lease)
	giveIPv6(t, guest)
	addAddresses(t, guest, "lo", stranger4+"/32", stranger6+"/128")
	outside := island.outside(lease.Address)
	world[name] = place{guest, outside[0].String()}
	world[name+"6"] = place{guest, outside[1].String()}
	gateways := island.gateways()
	world["host-inside"] = place{hostNamespace, gateways[0].String()}
	world["host-inside6"] = place{hostNamespace, gateways[1].String()}
}

func giveIPv6(t testing.TB, guest string) {
	addAddresses(t, guest, "eth0", network.Guest6.String())
	routeBy(t, guest, "eth0", network.Gateway6.String())
}

func addAddresses(t testing.TB, namespace, link string, addresses ...string) {
	t.Helper()
	for _, address := range addresses {
		require.NoError(t, Do(namespace, func() error {
			c := configure(link)
			c.address(netip.MustParsePrefix(address))
			return c.err
		}), address)
	}
}

func routeBy(t testing.TB, namespace, link, gateway string) {
	t.Helper()
	require.NoError(t, Do(namespace, func() error {
		c := configure(link)
		c.defaultRoute(netip.MustParseAddr(gateway))
		return c.err
	}))
}

func TestFlows(t *testing.T) {
	all := parseFlows(t, flows)
	require.GreaterOrEqual(t, len(all), 60)
	world := newFlowWorld(t)
	island := openIsland(t, flowOptions(t, "p"))
	addWorker(t, world, island, "p-bbbbbbbb", "other-worker")
	addWorker(t, world, island, "p-aaaaaaaa", "worker")
	world["itself"] = world["worker"]
	serveFlows(t, world, all)

	requireFlows(t, world, all)
	t.Run("after a reload", func(t *testing.T) {
		require.NoError(t, island.Open(t.Context()))
		again, err := New(island.options)
		require.NoError(t, err)
		require.NoError(t, again.Open(t.Context()))
		require.NoError(t, again.unwatch(), "a pool has one process")
		requireFlows(t, world, all)
	})
	t.Run("with a second pool beside", func(t *testing.T) {
		options := flowOptions(t, "q")
		options.AddressDir = island.options.AddressDir
		options.Deny, options.Allow = []network.Destination{}, nil
		second := openIsland(t, options)
		addWorker(t, world, second, "q-aaaaaaaa", "stranger")
		requireFlows(t, world, append(slices.Clone(all), parseFlows(t, `
			worker   tcp  stranger:22  no
			worker   icmp stranger6    no
			stranger tcp  worker:22    no
			stranger tcp  worker6:22   no
			stranger tcp  host:22      no
			stranger tcp  internet:80  yes
			stranger tcp  lan:80       yes   as this pool denies nothing
		`)...))
	})
}

// serveFlows answers wherever a flow leads to. Guests answer as they do; the
// gateway's questions go to the resolver.
func serveFlows(t *testing.T, world map[string]place, all []flow) {
	served := make(map[string]bool)
	for _, f := range all {
		at := world[f.to]
		address := net.JoinHostPort(at.address, fmt.Sprint(f.port))
		isGuest := strings.Contains(f.to, "worker") || f.to == "itself" || f.to == "stranger"
		if at.namespace == "" || isGuest || served[address] {
			continue
		}
		served[address] = true
		switch f.protocol {
		case "tcp", "udp", "pieces":
			serve(t, at.namespace, address)
		}
	}
}

// requireFlows tries all at once: what does not arrive takes its time.
func requireFlows(t *testing.T, world map[string]place, all []flow) {
	t.Helper()
	wrong := make([]string, len(all))
	var group errgroup.Group
	group.SetLimit(16)
	for n, f := range all {
		group.Go(func() error {
			wait := patience
			if !f.arrives {
				wait = impatience
			}
			how := try(world[f.from].namespace, world[f.to], f, wait)
			if f.arrives && how != nil || !f.arrives && !unheard(how) {
				wrong[n] = fmt.Sprintf("%s: %v", f, how)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.Empty(t, slices.DeleteFunc(wrong, func(s string) bool { return s == "" }))
}
