//go:build linux

package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// FitNetwork is idempotent, and takes back what an earlier link had.
func (Linux) FitNetwork(want guest.Link) error {
	link, err := guestLink()
	if err != nil {
		return err
	}
	name, mtu := link.Attrs().Name, cmp.Or(want.MTU, network.UsualMTU)
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("setting the MTU of %s to %d: %w", name, mtu, err)
	}
	if want.IPv6 {
		return setUpIPv6(link)
	}
	return disableIPv6(name)
}

// disableIPv6 has the kernel forget all that the link has of it. One without
// IPv6 needs nothing.
func disableIPv6(link string) error {
	err := setIPv6(link, "disable_ipv6", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func setIPv6(link, setting, value string) error {
	file := filepath.Join("/proc/sys/net/ipv6/conf", link, setting)
	if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
		return fmt.Errorf("setting %s of %s to %s: %w", setting, link, value, err)
	}
	return nil
}

// setUpIPv6 asks nobody: neither whether the address is in use, nor where the
// gateway is, nor what routers there are.
func setUpIPv6(link netlink.Link) error {
	name := link.Attrs().Name
	if err := errors.Join(setIPv6(name, "disable_ipv6", "0"), setIPv6(name, "accept_ra", "0")); err != nil {
		return withoutIPv6(err)
	}
	address := &netlink.Addr{IPNet: ipNet(network.Guest6), Flags: unix.IFA_F_NODAD}
	if err := netlink.AddrReplace(link, address); err != nil {
		return fmt.Errorf("adding %s to %s: %w", network.Guest6, name, err)
	}
	gateway, err := net.ParseMAC(network.GatewayMAC)
	if err != nil {
		return fmt.Errorf("reading the gateway's MAC: %w", err)
	}
	neighbour := &netlink.Neigh{
		LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: network.Gateway6.AsSlice(), HardwareAddr: gateway,
	}
	if err := netlink.NeighSet(neighbour); err != nil {
		return fmt.Errorf("adding neighbour %s to %s: %w", network.Gateway6, name, err)
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: network.Gateway6.AsSlice()}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("adding the default route by %s: %w", network.Gateway6, err)
	}
	return nil
}

// withoutIPv6 says it in plain words when that is the reason.
func withoutIPv6(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the image's kernel has no IPv6, which network.ipv6 asks for: %w", err)
	}
	return err
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
