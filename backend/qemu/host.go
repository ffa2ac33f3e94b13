//go:build linux

package qemu

import (
	"runtime"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
)

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

// nesting hides from a guest that its processor could run virtual machines, or not.
// What of it a host can do is in the model.
func nesting(l vmm.Layout) string {
	if l.Nesting == vmm.NestingOff && runtime.GOARCH == "amd64" {
		return ",vmx=off,svm=off"
	}
	return ""
}

// processorModel is the host's with KVM, and by emulation all that QEMU can
// emulate. The way in which arm64 signs pointers is left to QEMU then
// (pauth-impdef, from QEMU 5.2): that of the architecture takes more than half
// of a boot.
func processorModel(acceleration string) string {
	switch {
	case acceleration == kvm.KVM:
		return "host"
	case runtime.GOARCH == "arm64":
		return "max,pauth-impdef=on"
	}
	return "max"
}
