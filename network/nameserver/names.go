package nameserver

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// The bounds of DNS on a name without its trailing dot, and on what is between
// two dots.
const (
	maxName  = 253
	maxLabel = 63
)

// Names are the names that a worker may look up. The zero Names allows all.
type Names struct {
	// exact are allowed themselves; of below, every name under them is.
	exact, below map[string]bool
}

// ParseNames reads a list of names, upper or lower case: "gitlab.com" is that
// name alone, "*.gitlab.com" every name below it, but not gitlab.com itself. An
// empty list allows every name. The error has every mistake of the list.
func ParseNames(list []string) (Names, error) {
	names := Names{exact: map[string]bool{}, below: map[string]bool{}}
	var errs []error
	for _, text := range list {
		parent, isBelow := strings.CutPrefix(text, "*.")
		name := lower(strings.TrimSuffix(parent, "."))
		if why := mistake(name); why != "" {
			errs = append(errs, fmt.Errorf("%q %s", text, why))
			continue
		}
		if isBelow {
			names.below[name] = true
		} else {
			names.exact[name] = true
		}
	}
	if len(errs) > 0 {
		return Names{}, errors.Join(errs...)
	}
	return names, nil
}

// Allows tells whether the name, with or without a trailing dot, may be looked
// up.
func (n Names) Allows(name string) bool {
	if n.empty() {
		return true
	}
	name = lower(strings.TrimSuffix(name, "."))
	if n.exact[name] {
		return true
	}
	for {
		_, parent, found := strings.Cut(name, ".")
		if !found {
			return false
		}
		if n.below[parent] {
			return true
		}
		name = parent
	}
}

func (n Names) empty() bool { return len(n.exact)+len(n.below) == 0 }

// mistake says what is wrong with a name in a list and how to write it, or
// nothing.
func mistake(name string) string {
	for _, m := range mistakes {
		if m.in(name) {
			return m.hint
		}
	}
	return ""
}

const example = `write for instance "gitlab.com", or "*.gitlab.com" for every name below it`

// mistakes are searched in this order: what somebody meant comes before what is
// merely wrong about it.
var mistakes = []struct {
	in   func(name string) bool
	hint string
}{
	{func(name string) bool { return name == "" }, "is no domain name: " + example},
	{isAddress, "is no domain name but an address: write addresses and networks into network.allow"},
	{containing("/"), "is no domain name: " + `write the name alone, such as "gitlab.com", without scheme and path`},
	{containing(":"), "has a port, and names are looked up without one: " + `write the name alone, such as "gitlab.com"`},
	{func(name string) bool { return name == "*" }, "would allow every name: leave the list empty for that"},
	{containing("*"), `has a "*" that does not stand for every name below another: ` + example},
	{notASCII, "is not written as DNS has it: write its xn-- form"},
	{func(name string) bool { return len(name) > maxName }, fmt.Sprintf("is longer than %d characters, which no domain name is", maxName)},
	{anyLabel(func(label string) bool { return label == "" }), "has nothing before, after or between its dots: " + example},
	{anyLabel(func(label string) bool { return len(label) > maxLabel }), fmt.Sprintf("has more than %d characters between dots, which no domain name has", maxLabel)},
	{anyLabel(func(label string) bool { return strings.ContainsFunc(label, notInNames) }),
		`has a character that is not in domain names, which have letters, digits, "-" and "_": ` + example},
	{anyLabel(func(label string) bool { return label[0] == '-' || label[len(label)-1] == '-' }), `has a "-" beside a dot or an end, which no domain name has: ` + example},
	{endsInNumber, "ends in a number, as addresses do and names do not: " + example},
}

// isAddress finds addresses and networks, as they are and as they are in URLs.
func isAddress(name string) bool {
	_, notAddress := netip.ParseAddr(strings.Trim(name, "[]"))
	_, notAddressPort := netip.ParseAddrPort(name)
	_, notPrefix := netip.ParsePrefix(name)
	return notAddress == nil || notAddressPort == nil || notPrefix == nil
}

func containing(part string) func(string) bool {
	return func(name string) bool { return strings.Contains(name, part) }
}

func notASCII(name string) bool {
	return strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 })
}

func anyLabel(bad func(label string) bool) func(string) bool {
	return func(name string) bool {
		for label := range strings.SplitSeq(name, ".") {
			if bad(label) {
				return true
			}
		}
		return false
	}
}

func notInNames(r rune) bool {
	return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_')
}

func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	return strings.Trim(last, "0123456789") == ""
}

// lower turns the letters to lower case that DNS compares without case: those
// of ASCII. strings.ToLower knows others too, such as the sign for kelvin, which
// would then pass for a k.
func lower(name string) string {
	if strings.IndexFunc(name, isUpper) < 0 {
		return name
	}
	low := []byte(name)
	for i, c := range low {
		if isUpper(rune(c)) {
			low[i] = c + 'a' - 'A'
		}
	}
	return string(low)
}

func isUpper(r rune) bool { return 'A' <= r && r <= 'Z' }
