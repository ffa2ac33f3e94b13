package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Destination is a part of the world that a policy allows or denies: a network,
// ports, or ports of a network.
type Destination struct {
	// Prefix is the network, IPv4 or IPv6; the zero Prefix means everywhere.
	Prefix netip.Prefix
	// Ports are those of one transport protocol; the zero Ports mean every
	// packet, of whatever protocol.
	Ports Ports
}

// Ports are the ports from First to Last of a transport protocol.
type Ports struct {
	// Protocol is TCP or UDP, the number that IP has for it.
	Protocol    byte
	First, Last uint16
}

// The transport protocols that have ports.
const (
	TCP byte = 6
	UDP byte = 17
)

// protocols are the names of transport protocols in a policy.
var protocols = map[string]byte{"tcp": TCP, "udp": UDP}

// words stand for lists of destinations that most policies want.
var words = map[string][]string{
	// What is not the internet: private, shared, link-local with its metadata
	// services, loopback, multicast and reserved addresses, and the services
	// that Azure keeps at a public address.
	"private": {
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32",
		"169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
		"::/96", "::ffff:0:0/96", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
		// The same of IPv4, as a translator to it (RFC 6052) would be asked.
		"64:ff9b::a00:0/104", "64:ff9b::7f00:0/104", "64:ff9b::a9fe:0/112",
		"64:ff9b::ac10:0/108", "64:ff9b::c0a8:0/112", "64:ff9b::6440:0/106",
	},
	// Mail between servers, which is what a stolen worker would send.
	"smtp": {"tcp/25"},
}

// ParseDestinations reads a list entry of a policy: a network ("10.0.0.0/8"),
// ports ("tcp/25", "udp/5000-5999"), ports of a network ("10.0.0.0/8 tcp/443"),
// or a word for a list of these ("private", "smtp").
func ParseDestinations(text string) ([]Destination, error) {
	list, ok := words[text]
	if !ok {
		list = []string{text}
	}
	destinations := make([]Destination, 0, len(list))
	for _, entry := range list {
		destination, err := parseDestination(entry)
		if err != nil {
			return nil, err
		}
		destinations = append(destinations, destination)
	}
	return destinations, nil
}

// DefaultDeny returns what workers cannot reach unless something else is
// configured.
func DefaultDeny() []Destination {
	var all []Destination
	for _, word := range []string{"private", "smtp"} {
		list, err := ParseDestinations(word)
		if err != nil {
			panic(fmt.Sprintf("network: the word %s: %v", word, err))
		}
		all = append(all, list...)
	}
	return all
}

// String returns the destination as ParseDestinations reads it.
func (d Destination) String() string {
	var fields []string
	if d.Prefix.IsValid() {
		fields = append(fields, d.Prefix.String())
	}
	if d.Ports != (Ports{}) {
		fields = append(fields, d.Ports.String())
	}
	return strings.Join(fields, " ")
}

// String returns the ports as ParseDestinations reads them.
func (p Ports) String() string {
	protocol := "udp"
	if p.Protocol == TCP {
		protocol = "tcp"
	}
	if p.First == p.Last {
		return fmt.Sprintf("%s/%d", protocol, p.First)
	}
	return fmt.Sprintf("%s/%d-%d", protocol, p.First, p.Last)
}

// ParsePrefix reads a network, IPv4 or IPv6. It wants the network's own address,
// because 10.1.2.3/8 is more often a slip than a way of writing 10.0.0.0/8.
func ParsePrefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is no network in CIDR notation: write for instance \"10.210.0.0/16\"", text)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits set after its prefix: write %q", text, prefix.Masked())
	}
	return prefix, nil
}

// parsePorts reads a protocol with one port or a range of them.
func parsePorts(text string) (Ports, error) {
	wrong := fmt.Errorf("%q names no ports: write for instance \"tcp/443\" or \"udp/5000-5999\"", text)
	protocol, ports, _ := strings.Cut(text, "/")
	from, to, isRange := strings.Cut(ports, "-")
	if !isRange {
		to = from
	}
	first, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return Ports{}, wrong
	}
	last, err := strconv.ParseUint(to, 10, 16)
	if err != nil || last < first {
		return Ports{}, wrong
	}
	return Ports{Protocol: protocols[protocol], First: uint16(first), Last: uint16(last)}, nil
}

var errDestination = errors.New(`write a network such as "10.210.0.0/16", ports such as "tcp/443" or "udp/5000-5999", ` +
	`both such as "10.210.0.0/16 tcp/443", or one of the words "private" and "smtp"`)

func parseDestination(text string) (Destination, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 || len(fields) > 2 {
		return Destination{}, fmt.Errorf("%q is no destination: %w", text, errDestination)
	}
	var d Destination
	last := fields[len(fields)-1]
	if protocol, _, _ := strings.Cut(last, "/"); protocols[protocol] != 0 {
		ports, err := parsePorts(last)
		if err != nil {
			return Destination{}, err
		}
		d.Ports = ports
		fields = fields[:len(fields)-1]
	}
	switch len(fields) {
	case 0:
		return d, nil
	case 1:
		var err error
		if d.Prefix, err = ParsePrefix(fields[0]); err != nil {
			return Destination{}, fmt.Errorf("%w; %w", err, errDestination)
		}
		return d, nil
	}
	return Destination{}, fmt.Errorf("%q is no destination: %w", text, errDestination)
}
