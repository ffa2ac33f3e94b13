//go:build !linux

package host

import (
	"fmt"
	"os"
)

// ownProgram is where the program of this process was started from.
func ownProgram() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding our own program, the guest agent: %w", err)
	}
	return path, nil
}
