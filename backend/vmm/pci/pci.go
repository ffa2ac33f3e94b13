//go:build linux

package pci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
)

// Host is where the kernel shows its devices.
type Host struct {
	// Root is what /sys and /dev are below: "/" but in tests.
	Root string
}

// vfioDriver is the driver of a device that a program may have.
const vfioDriver = "vfio-pci"

// harmless are the drivers beside which the kernel lets a group be used: those that
// have nothing to do with the memory of the host.
var harmless = map[string]bool{"": true, vfioDriver: true, "pci-stub": true, "pcieport": true}

// obstacle is why a device cannot be given to a machine, and what to do about it.
type obstacle struct{ why, mend string }

func (o obstacle) Error() string { return o.why }

// SystemDir is the directory in which the kernel describes a device.
func SystemDir(address string) string { return filepath.Join("/sys/bus/pci/devices", address) }

// Nodes are the device nodes by which a program has the devices.
func (h Host) Nodes(addresses []string) (paths []string, err error) {
	if len(addresses) == 0 {
		return nil, nil
	}
	paths = []string{"/dev/vfio/vfio"}
	given := map[string]bool{}
	for _, address := range addresses {
		group, err := h.usable(address)
		if err != nil {
			return nil, fmt.Errorf("giving the machine the device %s: %w", address, err)
		}
		if node := "/dev/vfio/" + group; !given[node] {
			given[node] = true
			paths = append(paths, node)
		}
	}
	return paths, nil
}

// Check says whether a machine can have a device, and else what to do.
func (h Host) Check(address string) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "device " + address}
	group, err := h.usable(address)
	if err != nil {
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		if found := new(obstacle); errors.As(err, found) {
			finding.Mend = found.mend
		}
		return finding
	}
	finding.Detail = "alone in IOMMU group " + group + ", or beside what does not matter; its driver is " + vfioDriver
	return finding
}

// usable is the group of a device that can be given to a machine.
func (h Host) usable(address string) (group string, err error) {
	device := filepath.Join(h.Root, SystemDir(address))
	if _, err := os.Stat(device); err != nil {
		return "", obstacle{"this host has no such device",
			"write an address that lspci -D shows into plugin_config.machine.devices"}
	}
	if group = target(filepath.Join(device, "iommu_group")); group == "" {
		return "", obstacle{"it is in no IOMMU group: the IOMMU is off", "switch VT-d or AMD-Vi on in the firmware, " +
			"and boot the kernel with intel_iommu=on or amd_iommu=on"}
	}
	if driver := target(filepath.Join(device, "driver")); driver != vfioDriver {
		return "", obstacle{"its driver is " + named(driver) + ", not " + vfioDriver, bind(address)}
	}
	beside, err := os.ReadDir(filepath.Join(device, "iommu_group", "devices"))
	if err != nil {
		return "", fmt.Errorf("listing IOMMU group %s: %w", group, err)
	}
	for _, other := range beside {
		driver := target(filepath.Join(h.Root, SystemDir(other.Name()), "driver"))
		if !harmless[driver] {
			return "", obstacle{fmt.Sprintf("%s is in the same IOMMU group, %s, and its driver is %s",
				other.Name(), group, driver), bind(other.Name())}
		}
	}
	for _, node := range []string{"/dev/vfio/vfio", "/dev/vfio/" + group} {
		if _, err := os.Stat(filepath.Join(h.Root, node)); err != nil {
			return "", obstacle{node + " is not there", "modprobe vfio-pci"}
		}
	}
	return group, nil
}

// target is the last element of what a link leads to; empty without one.
func target(link string) string {
	to, err := os.Readlink(link)
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

func named(driver string) string {
	if driver == "" {
		return "none"
	}
	return driver
}

// bind are the commands that give a device the driver, until the next boot.
func bind(address string) string {
	dir := SystemDir(address)
	return strings.Join([]string{
		"modprobe vfio-pci",
		"echo " + vfioDriver + " >" + dir + "/driver_override",
		"[ ! -e " + dir + "/driver ] || echo " + address + " >" + dir + "/driver/unbind",
		"echo " + address + " >/sys/bus/pci/drivers_probe",
	}, " && ")
}
