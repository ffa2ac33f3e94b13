//go:build linux

package island

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// leases are those that this process has made and not removed. They follow the
// host: their rules deny it wherever it hears.
type leases struct {
	// turn is held while the host is read, or a lease made to follow it: what is older
	// never comes last.
	turn sync.Mutex

	mu sync.Mutex
	// host is where the host hears, and version how often that changed; 0 when it is
	// not known yet.
	host    []netip.Prefix
	version int
	// made has the version that each lease denies, by the name of its namespace.
	made map[string]int
}

// add takes note of a lease whose rules deny the host of a version.
func (l *leases) add(name string, version int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made == nil {
		l.made = make(map[string]int)
	}
	l.made[name] = version
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

// known is where the host hears, as far as it was read.
func (l *leases) known() (host []netip.Prefix, version int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.host, l.version
}

// learn takes note of where the host hears now.
func (l *leases) learn(host []netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.version == 0 || !slices.Equal(host, l.host) {
		l.host = host
		l.version++
	}
}

// follows says whether a lease denies the host of a version, or is gone.
func (l *leases) follows(name string, version int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	denied, ok := l.made[name]
	return !ok || denied == version
}

// follow takes note that a lease, unless it is gone, denies the host of a version.
func (l *leases) follow(name string, version int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.made[name]; ok {
		l.made[name] = version
	}
}

// hostHears is where the host hears now, as far as it was read.
func (i *Island) hostHears() (host []netip.Prefix, version int, err error) {
	if _, version := i.leases.known(); version == 0 { // nobody has opened the network
		err = i.readHost()
	}
	host, version = i.leases.known()
	return host, version, err
}

// followHost has all leases deny the host where it hears now. One that cannot does
// not keep the others from it.
func (i *Island) followHost() error {
	if err := i.readHost(); err != nil {
		return err
	}
	var errs []error
	for _, name := range i.leases.names() {
		errs = append(errs, i.denyHost(name))
	}
	return errors.Join(errs...)
}

// readHost reads where the host hears.
func (i *Island) readHost() error {
	i.leases.turn.Lock()
	defer i.leases.turn.Unlock()
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
	i.leases.learn(slices.Compact(host))
	return nil
}

// denyHost changes the rules of a lease that denies the host where it heard before.
// One without a namespace is about to go.
func (i *Island) denyHost(name string) error {
	i.leases.turn.Lock()
	defer i.leases.turn.Unlock()
	host, version := i.leases.known()
	if i.leases.follows(name, version) {
		return nil
	}
	err := Do(namespacePath(name), func() error { return firewall.SetHost(host, i.options.IPv6.On) })
	if err != nil && !isNoNamespace(err) {
		return fmt.Errorf("changing the rules of %s: %w", name, err)
	}
	i.leases.follow(name, version)
	return nil
}

// isNoNamespace tells the error of a namespace that is not there, or is only
// claimed: nothing is mounted on its file.
func isNoNamespace(err error) bool {
	return errors.Is(err, errEntering) && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EINVAL))
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
