//go:build !linux

package budget

// Pressure has no gates where the kernel does not say how long work waits for
// memory.
func Pressure(int64) []Gate { return nil }
