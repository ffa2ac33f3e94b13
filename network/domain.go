package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// The lengths that the domain name system allows, in bytes of the text.
const (
	maxName  = 253
	maxLabel = 63
)

// ParseDomain reads an entry of a list of names: a name, or "*." and a name for
// every name below it. It returns the entry in lower case and without a dot at
// its end. Whether there is such a name is not asked.
func ParseDomain(text string) (string, error) {
	if strings.ContainsFunc(text, notASCII) {
		return "", fmt.Errorf("%q has letters other than a to z: "+
			"write it as the domain name system has it, with \"xn--\"", text)
	}
	domain := strings.TrimSuffix(strings.ToLower(text), ".")
	if err := noOtherThing(text, domain); err != nil {
		return "", err
	}
	name := strings.TrimPrefix(domain, "*.")
	if strings.Contains(name, "*") {
		return "", fmt.Errorf("%q has a * where none can be: write it first and alone, for instance \"*.example.com\"",
			text)
	}
	if len(name) > maxName {
		return "", fmt.Errorf("%q is longer than any name: write at most %d characters", text, maxName)
	}
	for label := range strings.SplitSeq(name, ".") {
		if err := checkLabel(label); err != nil {
			return "", fmt.Errorf("%q is not a valid name: %w", text, err)
		}
	}
	return domain, nil
}

// noOtherThing answers what people write in place of a name.
func noOtherThing(text, domain string) error {
	if address, err := netip.ParseAddr(strings.Trim(domain, "[]")); err == nil {
		alone := netip.PrefixFrom(address.WithZone(""), address.BitLen())
		return fmt.Errorf("%q is an address: write %q into allow", text, alone)
	}
	if prefix, err := netip.ParsePrefix(domain); err == nil {
		return fmt.Errorf("%q is a network: write %q into allow", text, prefix.Masked())
	}
	last := domain[strings.LastIndexByte(domain, '.')+1:]
	switch {
	case domain == "":
		return fmt.Errorf("%q is not a valid name: write for instance \"gitlab.example.com\", or remove it", text)
	case domain == "*":
		return fmt.Errorf("%q is every name: remove domains for that, or write for instance \"*.example.com\"", text)
	case strings.Contains(domain, "/"):
		return fmt.Errorf("%q is a URL or a path: write the name in it alone, for instance \"gitlab.example.com\"",
			text)
	case strings.Contains(domain, ":"):
		return fmt.Errorf("%q has a port: write the name alone, for instance \"gitlab.example.com\"", text)
	case last != "" && strings.Trim(last, "0123456789") == "":
		return fmt.Errorf("%q ends in a number, as no name does: write for instance \"gitlab.example.com\"", text)
	}
	return nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("two dots have nothing between them, or one is first: " +
			"write for instance \"gitlab.example.com\"")
	case len(label) > maxLabel:
		return fmt.Errorf("%q is longer than the %d characters that are allowed between dots: shorten it",
			label, maxLabel)
	case strings.ContainsFunc(label, notInName):
		return fmt.Errorf("%q may have a to z, 0 to 9, - and _ alone: write for instance \"gitlab.example.com\"", label)
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("%q begins or ends with -: write a letter or a digit there", label)
	}
	return nil
}

func notASCII(r rune) bool { return r > 0x7f }

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
