//go:build linux

package firewall

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
)

// hostNames are the sets of where the host hears, for IPv4 and IPv6.
var hostNames = [2]familySet{{"host", intervals}, {"host6", intervals6}}

// hostSets are there also when they are empty: the host may come to addresses.
func hostSets(p Policy) []set {
	var sets []set
	for _, f := range usedSets(p.IPv6.On, hostNames) {
		sets = append(sets, set{name: f.name, kind: f.kind, prefixes: ofFamily(p.Host, f.kind == intervals6)})
	}
	return sets
}

func ofFamily(prefixes []netip.Prefix, ipv6 bool) []netip.Prefix {
	var found []netip.Prefix
	for _, p := range prefixes {
		if p.Addr().Is6() == ipv6 {
			found = append(found, p)
		}
	}
	return found
}

// SetHost changes where the host hears, in the calling thread's network namespace,
// whose table is that of Namespace, in one transaction.
func SetHost(host []netip.Prefix, ipv6 bool) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	for _, f := range usedSets(ipv6, hostNames) {
		kernel := kernelSet(inet(NamespaceTable), 0, set{name: f.name, kind: f.kind})
		conn.FlushSet(kernel)
		in := elements(ofFamily(host, f.kind == intervals6))
		if len(in) == 0 {
			continue
		}
		if err := conn.SetAddElements(kernel, in); err != nil {
			return fmt.Errorf("filling set %s: %w", f.name, err)
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("denying the addresses of the host: %w", err)
	}
	return nil
}
