package island

import (
	"net/netip"
	"os"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// resolvConfs are the files that may name the host's resolvers. The second is
// where systemd-resolved keeps the real ones when the first names only its
// stub on a loopback address.
var resolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// answering says who answers the guests' questions: one resolver that the
// kernel redirects them to, or the relay, which can do what the kernel cannot,
// or nobody.
type answering struct {
	redirect netip.Addr
	relay    bool
}

func (a answering) nobody() bool { return !a.redirect.IsValid() && !a.relay }

// answer has the relay do it only where that is needed: the kernel is quicker,
// but knows one resolver, which is not to be on a loopback address of the host,
// no IPv6 and no names.
func answer(resolvers []netip.Addr, byName bool) answering {
	if len(resolvers) == 1 && !byName && resolvers[0].Is4() && !resolvers[0].IsLoopback() {
		return answering{redirect: resolvers[0]}
	}
	return answering{relay: len(resolvers) > 0}
}

// asked returns where resolvers are asked.
func asked(resolvers []netip.Addr) []netip.AddrPort {
	var all []netip.AddrPort
	for _, resolver := range resolvers {
		all = append(all, netip.AddrPortFrom(resolver, network.DNSPort))
	}
	return all
}

// hostResolvers returns the resolvers that the first of the files names that
// names one of the outside world, else those on loopback addresses.
func hostResolvers(files []string) []netip.Addr {
	var loopback []netip.Addr
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var outside []netip.Addr
		for _, addr := range nameservers(string(text)) {
			if addr.IsLoopback() {
				loopback = append(loopback, addr)
			} else {
				outside = append(outside, addr)
			}
		}
		if len(outside) > 0 {
			return outside
		}
	}
	return loopback
}

// nameservers returns the resolvers that a resolv.conf names.
func nameservers(conf string) []netip.Addr {
	var found []netip.Addr
	for line := range strings.Lines(conf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			found = append(found, addr.Unmap())
		}
	}
	return found
}
