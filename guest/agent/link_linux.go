package agent

import (
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

// FitNetwork is idempotent, and does nothing to most links: every call costs a
// fork its time.
func (Linux) FitNetwork(want guest.Link) error {
	usual := want.MTU == 0 || want.MTU == network.UsualMTU
	if usual && !want.IPv6 {
		return nil
	}
	name, err := waitForLink(linkWait)
	if err != nil {
		return err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding %s: %w", name, err)
	}
	if !usual {
		if err := netlink.LinkSetMTU(link, want.MTU); err != nil {
			return fmt.Errorf("setting the MTU of %s to %d: %w", name, want.MTU, err)
		}
	}
	if want.IPv6 {
		return setUpIPv6(link)
	}
	return nil
}

// setUpIPv6 asks nobody: neither whether the address is in use, nor where the
// gateway is, nor what routers there are.
func setUpIPv6(link netlink.Link) error {
	name := link.Attrs().Name
	settings := filepath.Join("/proc/sys/net/ipv6/conf", name)
	for setting, value := range map[string]string{"disable_ipv6": "0", "accept_ra": "0"} {
		if err := os.WriteFile(filepath.Join(settings, setting), []byte(value), 0o644); err != nil {
			return withoutIPv6(fmt.Errorf("setting %s of %s: %w", setting, name, err))
		}
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
