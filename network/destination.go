package network

import (
	"fmt"
	"net/netip"
	"slices"
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
		"64:ff9b::/104", "64:ff9b::a00:0/104", "64:ff9b::6440:0/106", "64:ff9b::7f00:0/104",
		"64:ff9b::a83f:8110/128", "64:ff9b::a9fe:0/112", "64:ff9b::ac10:0/108", "64:ff9b::c0a8:0/112",
		"64:ff9b:1::/48", "2002::/16",
	},
	// Mail between servers, which is what a stolen worker would send.
	"smtp": {"tcp/25"},
}

// ParseDestinations reads a list entry of a policy: a network ("10.0.0.0/8"),
// ports ("tcp/25", "udp/5000-5999"), ports of a network ("10.0.0.0/8 tcp/443"),
// or a word for a list of these ("private", "smtp").
func ParseDestinations(text string) ([]Destination, error) {
	list, ok := words[strings.TrimSpace(text)]
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

// FormatDestinations writes a list so that ParseDestinations, of each entry in
// turn, reads the same. Where all that "private" stands for follows in its order,
// the word is written, which is what its reader had written too.
func FormatDestinations(list []Destination) []string {
	private := meaning("private")
	texts := make([]string, 0, len(list))
	for len(list) > 0 {
		if len(list) >= len(private) && slices.Equal(list[:len(private)], private) {
			texts, list = append(texts, "private"), list[len(private):]
			continue
		}
		texts, list = append(texts, list[0].String()), list[1:]
	}
	return texts
}

// DefaultDeny returns what workers cannot reach unless something else is
// configured.
func DefaultDeny() []Destination {
	var all []Destination
	for _, word := range []string{"private", "smtp"} {
		all = append(all, meaning(word)...)
	}
	return all
}

// meaning is what a word of ours stands for.
func meaning(word string) []Destination {
	list, err := ParseDestinations(word)
	if err != nil {
		panic(fmt.Sprintf("network: the word %s: %v", word, err))
	}
	return list
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
		return netip.Prefix{}, fmt.Errorf("%q is not a valid network in CIDR notation: "+
			"write for instance \"10.210.0.0/16\"", text)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits set after its prefix: write %q", text, prefix.Masked())
	}
	return prefix, nil
}

// parsePorts reads a protocol with one port or a range of them. There is no
// port 0.
func parsePorts(text string) (Ports, error) {
	wrong := fmt.Errorf("%q names no ports: write for instance \"tcp/443\" or \"udp/5000-5999\", from 1 to 65535", text)
	protocol, ports, _ := strings.Cut(text, "/")
	from, to, isRange := strings.Cut(ports, "-")
	if !isRange {
		to = from
	}
	first, err := strconv.ParseUint(from, 10, 16)
	if err != nil || first == 0 {
		return Ports{}, wrong
	}
	last, err := strconv.ParseUint(to, 10, 16)
	if err != nil || last < first {
		return Ports{}, wrong
	}
	return Ports{Protocol: protocols[protocol], First: uint16(first), Last: uint16(last)}, nil
}

const howToWrite = `write a network such as "10.210.0.0/16", ports such as "tcp/443" or "udp/5000-5999", ` +
	`both such as "10.210.0.0/16 tcp/443", or one of the words "private" and "smtp"`

func parseDestination(text string) (Destination, error) {
	fields := strings.Fields(text)
	var d Destination
	if last := len(fields) - 1; last >= 0 && namesProtocol(fields[last]) {
		ports, err := parsePorts(fields[last])
		if err != nil {
			return Destination{}, err
		}
		d.Ports, fields = ports, fields[:last]
		if last == 0 {
			return d, nil
		}
	}
	if len(fields) != 1 {
		return Destination{}, fmt.Errorf("%q is not a valid destination: %s", text, howToWrite)
	}
	prefix, err := parseNetwork(fields[0])
	if err != nil {
		return Destination{}, err
	}
	d.Prefix = prefix
	return d, nil
}

func namesProtocol(field string) bool {
	protocol, _, _ := strings.Cut(field, "/")
	return protocols[protocol] != 0
}

// parseNetwork is ParsePrefix with answers for what people write in its place.
func parseNetwork(text string) (netip.Prefix, error) {
	if _, err := netip.ParsePrefix(text); err == nil {
		return ParsePrefix(text)
	}
	if address, err := netip.ParseAddr(text); err == nil && !strings.Contains(text, "/") { // a zone may hold one
		alone := netip.PrefixFrom(address.WithZone(""), address.BitLen())
		return netip.Prefix{}, fmt.Errorf("%q is an address: write %q for it alone", text, alone)
	}
	if _, isWord := words[text]; isWord {
		return netip.Prefix{}, fmt.Errorf("%q stands alone: write it without ports, or a network with them", text)
	}
	if _, err := ParseDomain(text); err == nil && strings.Contains(text, ".") {
		return netip.Prefix{}, fmt.Errorf("%q is a name: write it into domains, or the networks of its addresses here",
			text)
	}
	return netip.Prefix{}, fmt.Errorf("%q is not a valid network: %s", text, howToWrite)
}
