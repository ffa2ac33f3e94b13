//go:build !linux

package main

import (
	"fmt"
	"os"
	"runtime"
)

// beGuest fails: only Linux guests have an agent.
func beGuest() int {
	fmt.Fprintf(os.Stderr, "the guest agent runs on Linux only, and this is %s\n", runtime.GOOS)
	return exitFailure
}
