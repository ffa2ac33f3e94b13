// Package hostmemory says how much memory this host has. How much of it machines
// take is their backends' to say.
package hostmemory

import "fmt"

// Total is all of the host's memory, in bytes.
func Total() (int64, error) {
	bytes, err := total()
	if err != nil {
		return 0, fmt.Errorf("asking for the host's memory: %w", err)
	}
	return int64(bytes), nil
}
