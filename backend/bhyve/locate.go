package bhyve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Where addresses come from.
const (
	Auto    = "auto" // all of the others, in this order
	Kea     = "kea"
	DHCPD   = "dhcpd"
	Dnsmasq = "dnsmasq"
	ARP     = "arp"
)

// servers are where the DHCP servers of FreeBSD's packages write leases, and how
// the address that a MAC has now is found there.
var servers = map[string]struct {
	file string
	find func(text string, mac net.HardwareAddr, now time.Time) (netip.Addr, bool)
}{
	Kea:     {"/var/db/kea/kea-leases4.csv", fromKea},
	DHCPD:   {"/var/db/dhcpd/dhcpd.leases", fromDHCPD},
	Dnsmasq: {"/var/db/dnsmasq.leases", fromDnsmasq},
}

// sources are the kinds to be asked, in order.
func (b *Backend) sources() []string {
	if b.options.Leases == Auto {
		return []string{Kea, DHCPD, Dnsmasq, ARP}
	}
	return []string{b.options.Leases}
}

func (b *Backend) leaseFile(kind string) string {
	if b.options.LeasesFile != "" && b.options.Leases == kind {
		return b.options.LeasesFile
	}
	return servers[kind].file
}

// leasePause is how often lease files are looked at.
const leasePause = 200 * time.Millisecond

// locate finds a guest by its MAC.
func (b *Backend) locate(name string) remote.Locate {
	return func(ctx context.Context) (netip.AddrPort, error) {
		var failed []error
		for _, kind := range b.sources() {
			address, found, err := b.ask(ctx, kind, macOf(name))
			if found {
				return netip.AddrPortFrom(address, network.SSHPort), nil
			}
			failed = append(failed, err)
		}
		select {
		case <-time.After(leasePause):
		case <-ctx.Done():
		}
		return netip.AddrPort{}, errors.Join(append([]error{
			fmt.Errorf("no address is known for %s of %s, by %s", macOf(name), name, strings.Join(b.sources(), ", ")),
		}, failed...)...)
	}
}

func (b *Backend) ask(ctx context.Context, kind, macText string) (address netip.Addr, found bool, err error) {
	mac := hardware(macText)
	if kind == ARP {
		text, err := b.host.run(ctx, "arp", "-an")
		address, found = fromARP(text, mac)
		return address, found, err
	}
	text, err := readLeases(kind, b.leaseFile(kind))
	if errors.Is(err, fs.ErrNotExist) && b.options.Leases == Auto {
		return netip.Addr{}, false, nil // another server
	}
	address, found = servers[kind].find(text, mac, time.Now())
	return address, found, err
}

// readLeases opens by name each time: servers replace their files. While Kea
// cleans up, what it had before is in two others.
func readLeases(kind, path string) (string, error) {
	var whole strings.Builder
	if kind == Kea {
		for _, ending := range []string{".2", ".1"} {
			if text, err := os.ReadFile(path + ending); err == nil {
				whole.Write(text)
				whole.WriteString("\n")
			}
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return whole.String(), fmt.Errorf("reading leases: %w", err)
	}
	whole.Write(text)
	return whole.String(), nil
}
