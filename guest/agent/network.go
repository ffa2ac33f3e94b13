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
	"os/exec"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// linkWait bounds the wait for the network device: its driver may still be
// loading when the host's first request arrives.
const linkWait = 20 * time.Second

// SetUpNetwork is idempotent: a network manager of the guest's own, which was
// given the same settings at prebuild, may be at work as well.
func (linux) SetUpNetwork() error {
	if err := linkUp("lo"); err != nil {
		return err
	}
	link, err := guestLink()
	if err != nil {
		return err
	}
	name := link.Attrs().Name
	address := &netlink.Addr{IPNet: ipNet(network.Guest)}
	if err := netlink.AddrReplace(link, address); err != nil {
		return fmt.Errorf("adding %s to %s: %w", network.Guest, name, err)
	}
	if err := linkUp(name); err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: network.Gateway.AsSlice()}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("adding the default route by %s: %w", network.Gateway, err)
	}
	return nil
}

// FitNetwork is idempotent, and removes what an earlier link had.
func (linux) FitNetwork(want guest.Link) error {
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
	// The kernel then forgets all that the link has of IPv6. A kernel without
	// IPv6 has no such setting.
	if err := setIPv6(name, "disable_ipv6", "1"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// RestartResolver does not wait: a resolver that is not started yet reads its settings
// when it is.
func (linux) RestartResolver() error {
	out, err := exec.Command("systemctl", "--no-block", "try-restart", "systemd-resolved.service").CombinedOutput()
	if err != nil {
		return fmt.Errorf("restarting systemd-resolved: %w: %s", err, out)
	}
	return nil
}

func setIPv6(link, setting, value string) error {
	file := filepath.Join("/proc/sys/net/ipv6/conf", link, setting)
	if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
		return fmt.Errorf("setting %s of %s to %s: %w", setting, link, value, err)
	}
	return nil
}

// setUpIPv6 sets address, gateway and its MAC by hand, without duplicate address
// detection, neighbour discovery and router advertisements: all of it is known,
// and nobody else is on the link.
func setUpIPv6(link netlink.Link) error {
	name := link.Attrs().Name
	err := errors.Join(setIPv6(name, "disable_ipv6", "0"), setIPv6(name, "accept_ra", "0"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the image's kernel has no IPv6, which network.ipv6 asks for: %w", err)
	}
	if err != nil {
		return err
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

// guestLink returns the guest's network device, and waits until it is there.
func guestLink() (netlink.Link, error) {
	name, err := waitForLink(linkWait)
	if err != nil {
		return nil, err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", name, err)
	}
	return link, nil
}

// waitForLink finds the guest's device by the MAC that all guests have: its
// name differs between distributions.
func waitForLink(limit time.Duration) (string, error) {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		interfaces, err := net.Interfaces()
		if err != nil {
			return "", fmt.Errorf("listing network devices: %w", err)
		}
		for _, i := range interfaces {
			if i.HardwareAddr.String() == network.GuestMAC {
				return i.Name, nil
			}
		}
	}
	return "", fmt.Errorf("no network device with address %s after %s", network.GuestMAC, limit)
}

func linkUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting %s up: %w", name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
