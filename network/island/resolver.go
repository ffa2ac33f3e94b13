package island

import (
	"net/netip"
	"os"
	"strings"
)

// resolvConfs are the files that may name the host's resolvers. The second is
// where systemd-resolved keeps the real ones when the first names only its
// stub on a loopback address, which no worker can reach.
var resolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// hostResolver returns the first resolver of the host that workers can reach,
// or the zero Addr. It is read for every lease: a laptop changes networks.
func hostResolver(files []string) netip.Addr {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, addr := range nameservers(string(text)) {
			if addr.Is4() && !addr.IsLoopback() {
				return addr
			}
		}
	}
	return netip.Addr{}
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
