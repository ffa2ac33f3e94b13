//go:build linux

package qemu

import "runtime"

// binaryName is QEMU's system emulator for this host's processor.
func binaryName() string {
	if runtime.GOARCH == "arm64" {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}

func machineType() string {
	if runtime.GOARCH == "arm64" {
		return "virt"
	}
	return "q35"
}
