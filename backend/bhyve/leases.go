package bhyve

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The parsers here take what DHCP servers write down, and find the address that
// a MAC has now. Where there are several, the last one that is valid counts:
// all of these files are journals, or are written anew in order.

// hardware is a MAC in any of its spellings, or nil.
func hardware(text string) net.HardwareAddr {
	mac, err := net.ParseMAC(text)
	if err != nil {
		return nil
	}
	return mac
}

func same(text string, mac net.HardwareAddr) bool { return bytes.Equal(hardware(text), mac) }

func ipv4(text string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(text)
	return address, err == nil && address.Is4()
}

// fromKea reads kea-leases4.csv: an entry of an address replaces the earlier
// ones of that address. State 0 is a lease in use.
func fromKea(text string, mac net.HardwareAddr, now time.Time) (netip.Addr, bool) {
	reader := csv.NewReader(strings.NewReader(text))
	reader.FieldsPerRecord, reader.LazyQuotes = -1, true
	var columns []string
	var valid []netip.Addr // of the MAC, the newest last
	for {
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			continue // half a line, that Kea is about to write
		}
		if len(row) > 0 && row[0] == "address" { // also in the middle, where files follow each other
			columns = slices.Clone(row)
			continue
		}
		field := func(name string) string {
			if i := slices.Index(columns, name); i >= 0 && i < len(row) {
				return row[i]
			}
			return ""
		}
		address, ok := ipv4(field("address"))
		if !ok {
			continue
		}
		valid = slices.DeleteFunc(valid, func(other netip.Addr) bool { return other == address })
		expire, err := strconv.ParseInt(field("expire"), 10, 64)
		if err == nil && field("state") == "0" && same(field("hwaddr"), mac) && now.Unix() < expire {
			valid = append(valid, address)
		}
	}
	return last(valid)
}

func last(addresses []netip.Addr) (netip.Addr, bool) {
	if len(addresses) == 0 {
		return netip.Addr{}, false
	}
	return addresses[len(addresses)-1], true
}

var (
	dhcpdLease = regexp.MustCompile(`(?ms)^lease ([0-9.]+) \{(.*?)^\}`)
	dhcpdMAC   = regexp.MustCompile(`(?m)^\s*hardware ethernet ([0-9A-Fa-f:]+);`)
	dhcpdState = regexp.MustCompile(`(?m)^\s*binding state (\w+);`)
	dhcpdEnds  = regexp.MustCompile(`(?m)^\s*ends (?:(never)|epoch (\d+)|\d (\d+/\d+/\d+ \d+:\d+:\d+));`)
)

// fromDHCPD reads dhcpd.leases of ISC: the last declaration of an address wins.
func fromDHCPD(text string, mac net.HardwareAddr, now time.Time) (netip.Addr, bool) {
	var valid []netip.Addr
	for _, lease := range dhcpdLease.FindAllStringSubmatch(text, -1) {
		address, ok := ipv4(lease[1])
		if !ok {
			continue
		}
		valid = slices.DeleteFunc(valid, func(other netip.Addr) bool { return other == address })
		owner, state := dhcpdMAC.FindStringSubmatch(lease[2]), dhcpdState.FindStringSubmatch(lease[2])
		held := state != nil && state[1] == "active" && now.Before(dhcpdEnd(lease[2]))
		if held && owner != nil && same(owner[1], mac) {
			valid = append(valid, address)
		}
	}
	return last(valid)
}

// dhcpdEnd is when a lease ends, in UTC unless the server was told otherwise;
// the zero time when it does not say.
func dhcpdEnd(lease string) time.Time {
	ends := dhcpdEnds.FindStringSubmatch(lease)
	switch {
	case ends == nil:
		return time.Time{}
	case ends[1] != "":
		return time.Unix(1<<40, 0)
	case ends[2] != "":
		seconds, _ := strconv.ParseInt(ends[2], 10, 64) // one that is too big is the biggest
		return time.Unix(seconds, 0)
	}
	end, err := time.Parse("2006/01/02 15:04:05", ends[3])
	if err != nil {
		return time.Time{}
	}
	return end
}

// fromDnsmasq reads dnsmasq.leases: expiry (0 is never), MAC, address, name,
// client id.
func fromDnsmasq(text string, mac net.HardwareAddr, now time.Time) (netip.Addr, bool) {
	var valid []netip.Addr
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 || !same(fields[1], mac) {
			continue
		}
		expire, err := strconv.ParseInt(fields[0], 10, 64)
		if address, ok := ipv4(fields[2]); ok && err == nil && (expire == 0 || now.Unix() < expire) {
			valid = append(valid, address)
		}
	}
	return last(valid)
}

var arpEntry = regexp.MustCompile(`(?m)^\S+ \(([0-9.]+)\) at ([0-9A-Fa-f:]+) `)

// fromARP reads what `arp -an` prints.
func fromARP(text string, mac net.HardwareAddr) (netip.Addr, bool) {
	var valid []netip.Addr
	for _, entry := range arpEntry.FindAllStringSubmatch(text, -1) {
		if address, ok := ipv4(entry[1]); ok && same(entry[2], mac) {
			valid = append(valid, address)
		}
	}
	return last(valid)
}
