package network

import (
	"fmt"
	"strings"
)

// MostSearch is how many domains a guest is told to look names up in: each may be a
// question for every name that is looked up.
const MostSearch = 16

// ParseSearch reads a domain to look names up in. It returns it in lower case and
// without a dot at its end.
func ParseSearch(text string) (string, error) {
	if strings.HasPrefix(text, "*") {
		return "", fmt.Errorf("%q stands for many names: write one domain, for instance \"corp.example.com\"", text)
	}
	return ParseDomain(text)
}
