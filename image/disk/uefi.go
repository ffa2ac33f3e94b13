//go:build linux

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

// bootCode is how many bytes of the first sector are for what a BIOS starts.
const bootCode = 440

// NeedsUEFI says whether no BIOS can start the boot loader of a disk: it has nothing where
// a BIOS looks, or the machine is of an architecture that has none. Disks with a partition
// table of GPT have nothing there either, unless they were made for both.
func NeedsUEFI(path string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("looking for a boot loader: %w", err)
	}
	defer file.Close()
	code := make([]byte, bootCode)
	if _, err := io.ReadFull(file, code); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, fmt.Errorf("looking for a boot loader on %s: %w", path, err)
	}
	return needsUEFI(code, runtime.GOARCH), nil
}

func needsUEFI(code []byte, goarch string) bool {
	return goarch == "arm64" || len(bytes.Trim(code, "\x00")) == 0
}
