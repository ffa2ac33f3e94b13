//go:build linux

package island

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configuration sets up one link of the calling thread's network namespace,
// step by step. After a step that fails it does nothing more, and err says
// which one that was.
type configuration struct {
	link netlink.Link
	err  error
}

func configure(name string) *configuration {
	link, err := linkByName(name)
	return &configuration{link: link, err: err}
}

func (c *configuration) try(doing string, step func(netlink.Link) error) {
	if c.err != nil {
		return
	}
	if err := step(c.link); err != nil {
		c.err = fmt.Errorf("%s %s: %w", doing, c.link.Attrs().Name, err)
	}
}

func (c *configuration) up() { c.try("bringing up", netlink.LinkSetUp) }

func (c *configuration) mtu(mtu int) {
	c.try("setting the MTU of", func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) })
}

func (c *configuration) mac(address string) {
	c.try("setting the MAC of", func(l netlink.Link) error { return netlink.LinkSetHardwareAddr(l, mac(address)) })
}

// address adds an address that nobody else can have: no duplicate is looked for.
func (c *configuration) address(p netip.Prefix) {
	c.try("adding "+p.String()+" to", func(l netlink.Link) error {
		address := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		return netlink.AddrAdd(l, address)
	})
}

// neighbour adds an entry that never expires, so that nothing waits for ARP.
func (c *configuration) neighbour(addr netip.Addr, address string) {
	c.try("adding neighbour "+addr.String()+" to", func(l netlink.Link) error {
		return netlink.NeighAdd(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: addr.AsSlice(), HardwareAddr: mac(address),
		})
	})
}

// routeTo adds a route to an address on the link itself, which is reached from
// source.
func (c *configuration) routeTo(addr, source netip.Addr) {
	c.try("routing "+addr.String()+" to", func(l netlink.Link) error {
		return netlink.RouteAdd(&netlink.Route{
			LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK,
			Dst: ipNet(single(addr)), Src: source.AsSlice(),
		})
	})
}

func (c *configuration) defaultRoute(gateway netip.Addr) {
	c.try("adding the default route to", func(l netlink.Link) error {
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: gateway.AsSlice()})
	})
}

// bandwidth bounds what leaves by the link, in bits per second.
func (c *configuration) bandwidth(bits int64) {
	c.try("limiting the bandwidth of", func(l netlink.Link) error {
		b := newBucket(bits)
		return netlink.QdiscReplace(&netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{
				LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
			},
			Rate: b.rate, Limit: b.limit,
			Buffer: netlink.Xmittime(b.rate, b.burst), // the kernel wants the time that it takes to fill
		})
	})
}

const (
	// burstTime is how long a link may send faster than its bandwidth after a
	// rest, and queueTime how long a packet waits at most before it is dropped.
	burstTime = 50 * time.Millisecond
	queueTime = 100 * time.Millisecond
	// minBurst holds the largest packet that the kernel hands over at once.
	minBurst = 64 << 10
)

// bucket is a token bucket, in bytes and bytes per second.
type bucket struct {
	rate         uint64
	burst, limit uint32
}

// newBucket is for a bandwidth in bits per second.
func newBucket(bandwidth int64) bucket {
	rate := uint64(bandwidth) / 8
	bytesIn := func(d time.Duration) uint64 { return rate * uint64(d.Milliseconds()) / 1000 }
	b := bucket{rate: rate, burst: uint32(max(minBurst, bytesIn(burstTime)))}
	b.limit = b.burst + uint32(bytesIn(queueTime))
	return b
}
