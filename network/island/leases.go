//go:build linux

package island

import (
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/changes"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// leases are those that this process has made and not removed, by the names of
// their namespaces. They follow the host: their rules deny it wherever it hears.
type leases struct {
	mu sync.Mutex
	// host is where the host hears, and version how often that changed; 0 when it is
	// not known yet.
	host    []netip.Prefix
	version int
	made    map[string]struct{}
}

// add takes note of a lease whose rules deny the host of a version.
func (l *leases) add(name string, version int, deny func(name string, host []netip.Prefix)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made == nil {
		l.made = make(map[string]struct{})
	}
	l.made[name] = struct{}{}
	if version != l.version {
		deny(name, l.host)
	}
}

func (l *leases) remove(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.made, name)
}

func (l *leases) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.made))
}

// hostHears is where the host hears now, as far as it was read.
func (i *Island) hostHears() (host []netip.Prefix, version int, err error) {
	i.leases.mu.Lock()
	defer i.leases.mu.Unlock()
	if i.leases.version == 0 { // nobody has opened the network
		err = i.readHost()
	}
	return i.leases.host, i.leases.version, err
}

// followHost has all leases deny the host where it hears now.
func (i *Island) followHost() error {
	i.leases.mu.Lock()
	defer i.leases.mu.Unlock()
	before := i.leases.version
	if err := i.readHost(); err != nil || before == i.leases.version {
		return err
	}
	for name := range i.leases.made {
		i.denyHost(name, i.leases.host)
	}
	return nil
}

// readHost reads where the host hears. The caller holds the mutex.
func (i *Island) readHost() error {
	host := singles(i.gateways()) // on the link of every lease
	for _, family := range i.families() {
		routes, err := netlinkdump.LocalRouteList(family)
		if err != nil {
			return err
		}
		for _, r := range routes {
			if to := prefix(r.Dst); r.Type != unix.RTN_MULTICAST && !isDefault(r) && !isOnLink(to) {
				host = append(host, to)
			}
		}
	}
	slices.SortFunc(host, netip.Prefix.Compare)
	host = slices.Compact(host)
	if i.leases.version == 0 || !slices.Equal(host, i.leases.host) {
		i.leases.host = host
		i.leases.version++
	}
	return nil
}

// isOnLink tells addresses that are good on one link of the host's only: nothing is
// forwarded there, and each lease's link has one.
func isOnLink(p netip.Prefix) bool { return p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() }

// families are the protocols that workers have.
func (i *Island) families() []int {
	if i.options.IPv6.On {
		return []int{netlink.FAMILY_V4, netlink.FAMILY_V6}
	}
	return []int{netlink.FAMILY_V4}
}

func singles(addrs []netip.Addr) []netip.Prefix {
	prefixes := make([]netip.Prefix, 0, len(addrs))
	for _, addr := range addrs {
		prefixes = append(prefixes, single(addr))
	}
	return prefixes
}

// denyHost changes the rules of a lease, which may just go. The host's own rules
// deny as much, while they are there.
func (i *Island) denyHost(name string, host []netip.Prefix) {
	err := Do(namespacePath(name), func() error { return firewall.SetHost(host, i.options.IPv6.On) })
	if err != nil && !isNoNamespace(err) {
		i.log.Error("a worker's own rules do not deny it a new address of the host", "namespace", name, "err", err)
	}
}

// isNoNamespace tells the error of a namespace that is not there, or is only
// claimed: nothing is mounted on its file.
func isNoNamespace(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EINVAL)
}

// linksChanged has the leases follow a change of the host's links.
func (i *Island) linksChanged(change changes.Links) {
	var err error
	if change.Missed || change.Heard.IsValid() && i.concerns(change.Heard) {
		err = i.followHost()
	}
	if change.Missed || i.isNeeded(change.Unforwarding) {
		err = errors.Join(err, i.forwardAgain())
	}
	if err != nil {
		i.log.Error("workers' links do not follow a change of the host's", "err", err)
	}
}

// concerns says whether it matters to leases that the host begins, or ceases, to
// hear somewhere. That it does so on their own links is known.
func (i *Island) concerns(heard netip.Prefix) bool {
	isSpoken := heard.Addr().Is4() || i.options.IPv6.On
	return isSpoken && !isOnLink(heard) && !slices.Contains(i.gateways(), heard.Addr())
}

// isNeeded says whether the link with an index may be one that forwards for a
// lease.
func (i *Island) isNeeded(index int) bool {
	names := i.leases.names()
	if index == 0 || len(names) == 0 {
		return false
	}
	if index == changes.AllLinks {
		return true
	}
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return false // it has gone
	}
	name := link.Attrs().Name
	return slices.Contains(names, name) || !strings.HasPrefix(name, firewall.LinkPrefix)
}

// forwardAgain has all links forward that leases need, and says which of them did
// not.
func (i *Island) forwardAgain() error {
	exit, err := i.egress()
	if err != nil {
		return err
	}
	ways, err := i.ways(exit)
	if err != nil {
		return err
	}
	mended, err := i.forwardAll(i.leases.names(), ways)
	if len(mended) > 0 {
		i.log.Warn("forwarding was off on links, without which workers reach nothing: it is on again",
			"links", mended)
	}
	return err
}
