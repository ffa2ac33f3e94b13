//go:build linux

package nspawn

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
)

// kvmDevice has the same path on the host and in containers.
const kvmDevice = "/dev/kvm"

// shareKVM makes a node of the host's KVM in a worker's directory, if workers are to
// have one and the host has. It returns its path.
func (b *Backend) shareKVM(dir string) (path string, err error) {
	if !b.options.Nested {
		return "", nil
	}
	path = filepath.Join(dir, "kvm")
	if err := shareDevice(kvmDevice, path); errors.Is(err, unix.ENOENT) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	return path, nil
}

// shareDevice makes a node of a device of the host's that everybody may use who comes
// to it. Of the host's own node only users of the host do, and in a container none of
// them is left.
func shareDevice(device, path string) error {
	var host unix.Stat_t
	if err := unix.Stat(device, &host); err != nil {
		return fmt.Errorf("looking at %s: %w", device, err)
	}
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(host.Rdev)); err != nil {
		return fmt.Errorf("making a node of %s: %w", device, err)
	}
	return os.Chmod(path, 0o666)
}

// checkKVM says whether jobs can run virtual machines.
func checkKVM() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "machine.nested", Detail: "workers have the host's " + kvmDevice}
	file, err := os.OpenFile(kvmDevice, os.O_RDWR, 0)
	if err != nil {
		finding.Level, finding.Detail = doctor.Warning, "it has no effect: "+err.Error()
		finding.Mend = "load KVM's module, or set plugin_config.machine.nested to false"
		finding.Command, finding.Safe = "modprobe kvm_intel || modprobe kvm_amd", true
		return finding
	}
	_ = file.Close()
	return finding
}
