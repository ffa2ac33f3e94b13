//go:build linux

package island

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

// The two ends of every veth link have the same addresses everywhere: they are
// known to each other beforehand, and udev leaves an address alone that was
// given.
const (
	hostMAC   = "02:6d:66:00:00:03"
	uplinkMAC = "02:6d:66:00:00:04"
)

// makeVeth links the host to the namespace.
func makeVeth(name string, mtu int) error {
	ns, err := netns.GetFromPath(namespacePath(name))
	if err != nil {
		return fmt.Errorf("opening network namespace %s: %w", name, err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = name, mtu, mac(hostMAC)
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerNamespace, veth.PeerHardwareAddr = firewall.Uplink, netlink.NsFd(ns), mac(uplinkMAC)
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("linking the host to namespace %s: %w", name, err)
	}
	return nil
}

// openVeth configures the host's end of the veth link.
func (i *Island) openVeth(name string) error {
	veth := configure(name)
	for _, gateway := range i.gateways() {
		veth.address(single(gateway))
	}
	veth.up()
	return veth.err
}

// openUplink configures the other end, which is the way out of the namespace
// that the thread is in.
func (i *Island) openUplink(addr netip.Addr) error {
	uplink := configure(firewall.Uplink)
	uplink.up()
	gateways := i.gateways()
	for n, outside := range i.outside(addr) {
		uplink.address(single(outside))
		uplink.neighbour(gateways[n], hostMAC)
		uplink.routeTo(gateways[n], outside)
		uplink.defaultRoute(gateways[n])
	}
	if i.options.Bandwidth > 0 {
		uplink.bandwidth(i.options.Bandwidth)
	}
	return uplink.err
}

// addTAP makes the gateway's end of the guest's link, whatever its other end
// is: the rules match it by name.
func (i *Island) addTAP(mtu, queues int) error {
	attach := func(name string) error { return makeTAP(name, queues) }
	if i.options.Containers {
		attach = func(name string) error { return makePeer(name, mtu) }
	}
	if err := attach(network.TAP); err != nil {
		return err
	}
	// A guest that sends ARP requests from others' addresses would have the kernel
	// note each of them, in a table that all namespaces share.
	if err := setSysctl("1", "ipv4", "conf", network.TAP, "rp_filter"); err != nil {
		return err
	}
	tap := configure(network.TAP)
	tap.mtu(mtu)
	tap.mac(network.GatewayMAC)
	tap.address(netip.PrefixFrom(network.Gateway, network.Guest.Bits()))
	if i.options.IPv6.On {
		tap.address(netip.PrefixFrom(network.Gateway6, network.Guest6.Bits()))
	}
	tap.up()
	tap.neighbour(network.Guest.Addr(), network.GuestMAC)
	if i.options.IPv6.On {
		tap.neighbour(network.Guest6.Addr(), network.GuestMAC)
	}
	if i.options.Bandwidth > 0 {
		tap.bandwidth(i.options.Bandwidth)
	}
	return tap.err
}

// makeTAP makes a tap device that outlives us, in the calling thread's network
// namespace. It has no owner, so that a machine needs no privilege to attach:
// being in the namespace is what lets it. Who attaches to one for several queues must
// ask for that, and who attaches to one without must not.
func makeTAP(name string, queues int) (err error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()

	request, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("naming tap device %s: %w", name, err)
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	request.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("making tap device %s: %w", name, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("keeping tap device %s: %w", name, err)
	}
	return nil
}

// makePeer makes a veth device in the calling thread's network namespace whose
// other end lies beside it, with the guest's MAC, until a container takes it.
// It stays down until then: nothing answers for the guest in its place.
func makePeer(name string, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerMTU = network.Peer, mac(network.GuestMAC), uint32(mtu)
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("making veth devices %s and %s: %w", name, network.Peer, err)
	}
	return nil
}

func linkByName(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("looking for link %s: %w", name, err)
	}
	return link, nil
}

// poll is how soon a link that is being removed is looked for again.
const poll = time.Millisecond

// removeLink removes a link of the host and with it its peer, its addresses and
// its routes. One that is not there is removed already. It returns when the
// host no longer has the link: the kernel goes on to wait, for tens of
// milliseconds, until nothing in it can still look at what it frees.
func removeLink(name string) error {
	link, err := linkByName(name)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	removed := make(chan error, 1)
	go func() { removed <- netlink.LinkDel(link) }()
	for {
		select {
		case err := <-removed:
			if err != nil && !errors.Is(err, unix.ENODEV) {
				return fmt.Errorf("removing link %s: %w", name, err)
			}
			return nil
		case <-time.After(poll):
			if _, err := linkByName(name); isGone(err) {
				return nil
			}
		}
	}
}

func isGone(err error) bool { return errors.As(err, new(netlink.LinkNotFoundError)) }

func mac(text string) net.HardwareAddr {
	address, err := net.ParseMAC(text)
	if err != nil {
		panic(fmt.Sprintf("island: %v", err))
	}
	return address
}

// single is the network of one address.
func single(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
