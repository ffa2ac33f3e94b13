// Package hostmemory says how much memory this process may take of its host: that
// of the machine, or what the control groups that the process is in allow, on
// systems that have such. On Linux it also says how much of it is left, and how long
// work waits for it. How much of it machines take is their backends' to say.
package hostmemory

import "fmt"

// Total is all memory that this process and what it starts may take, in bytes.
func Total() (int64, error) {
	bytes, err := total()
	if err != nil {
		return 0, fmt.Errorf("asking for the host's memory: %w", err)
	}
	limit, limited, err := groupLimit()
	if err != nil {
		return 0, fmt.Errorf("asking for the memory limit of this process's control group: %w", err)
	}
	if limited {
		return min(int64(bytes), limit), nil
	}
	return int64(bytes), nil
}
