//go:build linux

package kvm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// ErrNoNesting is in the errors of Nests.
var ErrNoNesting = errors.New("guests cannot run machines of their own with KVM")

// Nests is nil when the kernel whose file system lies at root lets the guests of KVM
// run machines of their own, and else says why not.
func Nests(root string) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("%w: only x86-64 is known to", ErrNoNesting)
	}
	for _, module := range []string{"kvm_intel", "kvm_amd"} {
		value, err := os.ReadFile(filepath.Join(root, "sys/module", module, "parameters/nested"))
		if err != nil {
			continue
		}
		switch strings.TrimSpace(string(value)) {
		case "Y", "1":
			return nil
		}
		return fmt.Errorf("%w: the parameter nested of %s is off", ErrNoNesting, module)
	}
	return fmt.Errorf("%w: the host has neither kvm_intel nor kvm_amd", ErrNoNesting)
}

// Open is a shell command that lets every user of a guest run machines with KVM, as
// the job's user is the only one there. A guest without the modules stays as it is. udev
// has its rule before there is a device, and is done with that before the end.
const Open = `mkdir -p /run/udev/rules.d
echo 'KERNEL=="kvm", MODE="0666"' >/run/udev/rules.d/70-mayfly-kvm.rules
udevadm control --reload >/dev/null 2>&1
modprobe -q kvm_intel || modprobe -q kvm_amd
udevadm settle >/dev/null 2>&1
[ ! -e /dev/kvm ] || chmod 0666 /dev/kvm`
