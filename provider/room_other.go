//go:build !linux

package provider

// hostMemory is all of the host's, in bytes; 0 where it is not known.
func hostMemory() (int64, error) { return 0, nil }
