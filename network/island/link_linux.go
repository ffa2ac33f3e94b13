package island

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func linkByName(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("looking for link %s: %w", name, err)
	}
	return link, nil
}

// look is how soon a link that is being removed is looked for again.
const look = time.Millisecond

// removeLink removes a link of the host and with it its peer, its addresses and
// its routes. One that is not there is removed already. It returns when the
// host has the link no more: the kernel goes on to wait, for tens of
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
		case <-time.After(look):
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

func host(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
