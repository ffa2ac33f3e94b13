package nameserver

import (
	"errors"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Names are the names that a worker may look up. The zero Names allows all.
type Names struct {
	// exact are allowed themselves; of below, every name under them is.
	exact, below map[string]bool
}

// ParseNames reads a list of names, as network.ParseDomain reads each:
// "gitlab.com" is that name alone, "*.gitlab.com" every name below it, but not
// gitlab.com itself. An empty list allows every name. The error has every
// mistake of the list.
func ParseNames(list []string) (Names, error) {
	names := Names{exact: map[string]bool{}, below: map[string]bool{}}
	var errs []error
	for _, text := range list {
		domain, err := network.ParseDomain(text)
		if err != nil {
			errs = append(errs, err)
		}
		if parent, isBelow := strings.CutPrefix(domain, "*."); isBelow {
			names.below[parent] = true
		} else {
			names.exact[domain] = true
		}
	}
	if len(errs) > 0 {
		return Names{}, errors.Join(errs...)
	}
	return names, nil
}

// allows tells whether the name, with or without a trailing dot, may be looked
// up.
func (n Names) allows(name string) bool {
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
