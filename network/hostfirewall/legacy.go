//go:build linux

package hostfirewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Legacy tells whether the calling thread's network namespace has rules made
// by iptables-legacy (or ip6tables-legacy) in the table that filters. nftables
// does not show them.
func Legacy(ipv6 bool) (bool, error) {
	file := "/proc/thread-self/net/ip_tables_names"
	if ipv6 {
		file = "/proc/thread-self/net/ip6_tables_names"
	}
	names, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a kernel without
	}
	if err != nil {
		return false, fmt.Errorf("looking for iptables-legacy's tables: %w", err)
	}
	return slices.Contains(strings.Fields(string(names)), "filter"), nil
}
