//go:build linux

package agent

import (
	"fmt"
	"net"
	"os"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Kernel is how the agent changes the running kernel.
type Kernel interface {
	// Reseed adds entropy and makes the generator use it at once.
	Reseed(entropy []byte) error
	SetTime(now time.Time) error
	SetHostname(name string) error
	// SetUpNetwork gives the guest the network that every guest sees.
	SetUpNetwork() error
	// FitNetwork gives it what it has beside that.
	FitNetwork(link guest.Link) error
}

// Linux is the kernel that the agent runs on.
type Linux struct{}

var _ Kernel = Linux{}

// poolInfo is struct rand_pool_info of linux/random.h.
type poolInfo struct {
	entropyBits int32
	size        int32
	data        [512]byte
}

// Reseed credits the bytes and forces a reseed: without the second, forks of
// one template go on with the key that they share, and draw the same numbers.
func (Linux) Reseed(entropy []byte) error {
	random, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer random.Close()
	info := poolInfo{entropyBits: int32(len(entropy) * 8), size: int32(len(entropy))}
	if copied := copy(info.data[:], entropy); copied < len(entropy) {
		return fmt.Errorf("%d bytes of entropy, at most %d fit", len(entropy), len(info.data))
	}
	if err := ioctl(random.Fd(), unix.RNDADDENTROPY, unsafe.Pointer(&info)); err != nil {
		return fmt.Errorf("RNDADDENTROPY: %w", err)
	}
	if err := ioctl(random.Fd(), unix.RNDRESEEDCRNG, nil); err != nil {
		return fmt.Errorf("RNDRESEEDCRNG: %w", err)
	}
	return nil
}

func ioctl(fd uintptr, request uint, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

// SetTime steps the clock.
func (Linux) SetTime(now time.Time) error {
	spec := unix.NsecToTimespec(now.UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &spec)
}

// SetHostname sets the running kernel's host name.
func (Linux) SetHostname(name string) error { return unix.Sethostname([]byte(name)) }

// linkWait bounds the wait for the network device: its driver may still be
// loading when the host's first request arrives.
const linkWait = 20 * time.Second

// SetUpNetwork is idempotent: a guest that has a network manager of its own
// was given the same settings at prebuild.
func (Linux) SetUpNetwork() error {
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

// guestLink waits for the guest's device.
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
