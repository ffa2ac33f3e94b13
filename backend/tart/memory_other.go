//go:build !darwin && !linux

package tart

import "errors"

// hostMemory is not known: Tart runs on macOS only.
func hostMemory() (int64, error) {
	return 0, errors.New("the host's memory is not known on this system")
}
