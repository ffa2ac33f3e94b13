//go:build linux

package cloudhypervisor

import (
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor/api"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/pci"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Names inside a machine's configuration, by which a snapshot's is changed.
const (
	rootDisk   = "root"
	seedDisk   = "seed"
	netDevice  = "net"
	memoryZone = "memory"
)

// guestCID is every guest's vsock address: each has a socket of its own on the
// host, so that they need not differ.
const guestCID = 3

// Limits are the most that a machine may do, in a second; 0 is no limit.
type Limits struct {
	// DiskBandwidth and NetworkBandwidth are in bytes, the latter for each
	// direction; DiskOperations counts reads and writes.
	DiskBandwidth, DiskOperations, NetworkBandwidth int64
}

// machineSpec is all that decides a machine's configuration.
type machineSpec struct {
	vmm.Spec
	// Vsock is the path of a socket that is not there yet, alone in its
	// directory.
	Vsock string
	// Readable are more paths that the machine may read: those of the files
	// that its disk reads through to among them.
	Readable []string
	Limits   Limits
}

// own adds to the machine's spec what is Cloud Hypervisor's own, and of this
// host. An image's draft has no limits.
func (m *machine) own() machineSpec {
	spec := machineSpec{Spec: m.spec, Vsock: vsockPath(m.dir)}
	if m.spec.Seed == "" {
		spec.Limits = m.driver.Limits
	}
	if m.spec.Backing != "" {
		spec.Readable = append(spec.Readable, m.spec.Backing)
	}
	return spec
}

// config is the machine as Cloud Hypervisor is told. The image type of a disk
// is always given: the guest must not be able to choose it.
func (s machineSpec) config() api.VmConfig {
	return api.VmConfig{
		CPUs:   s.processors(),
		Memory: s.memory(),
		Payload: api.Payload{
			Kernel: s.Kernel, Initramfs: s.Initrd,
			Cmdline: s.KernelCommandLine(),
		},
		Disks: s.disks(),
		Net: []api.Net{{
			ID: netDevice, TAP: network.TAP, MAC: network.GuestMAC, Queues: 2 * s.Layout.NetworkQueues,
			RateLimiter: limit(s.Limits.NetworkBandwidth, 0),
		}},
		RNG:            api.RNG{Source: "/dev/urandom"},
		Balloon:        s.balloon(),
		Devices:        s.devices(),
		Serial:         api.Console{Mode: api.ConsoleFile, File: s.Console},
		Console:        api.Console{Mode: api.ConsoleOff},
		Vsock:          &api.Vsock{CID: guestCID, Socket: s.Vsock},
		Pvpanic:        true,
		LandlockEnable: true,
		LandlockRules:  s.rules(),
	}
}

// processors are those of the machine. Cloud Hypervisor shows nesting unless told not to.
func (s machineSpec) processors() api.CPUs {
	cpus := api.CPUs{Boot: s.CPUs, Max: s.CPUs}
	if s.Layout.Nesting == vmm.NestingOff {
		cpus.Nested = new(bool)
	}
	return cpus
}

// devices are those of the host's that the machine has.
func (s machineSpec) devices() (devices []api.Device) {
	for _, address := range s.PCI {
		devices = append(devices, api.Device{ID: "pci-" + address, Path: pci.SystemDir(address)})
	}
	return devices
}

func (s machineSpec) memory() api.Memory {
	if s.MemoryUse == vmm.NoFile {
		return api.Memory{Size: s.Memory}
	}
	return api.Memory{Zones: []api.MemoryZone{{ID: memoryZone, Size: s.Memory, File: s.MemoryFile, Shared: true}}}
}

// balloon returns to the host what the guest frees. A machine whose memory is
// a file has none: Cloud Hypervisor would punch holes into that file, which
// the forks of a template all read. Nor has one with a device of the host, which goes
// on using the pages that the host would take back.
func (s machineSpec) balloon() *api.Balloon {
	if s.MemoryUse != vmm.NoFile || len(s.PCI) > 0 {
		return nil
	}
	return &api.Balloon{DeflateOnOOM: true, FreePageReporting: true}
}

func (s machineSpec) disks() []api.Disk {
	root := api.Disk{
		ID: rootDisk, Path: s.Disk, ImageType: api.Raw, Queues: s.Layout.DiskQueues,
		RateLimiter: limit(s.Limits.DiskBandwidth, s.Limits.DiskOperations),
	}
	if s.Format == "qcow2" {
		root.ImageType, root.BackingFiles = api.Qcow2, true
	}
	disks := []api.Disk{root}
	if s.Seed != "" {
		disks = append(disks, api.Disk{ID: seedDisk, Path: s.Seed, ImageType: api.Raw, ReadOnly: true})
	}
	return disks
}

// rules are the paths that the configuration does not name elsewhere. All of
// them must exist.
func (s machineSpec) rules() []api.LandlockRule {
	rules := []api.LandlockRule{
		{Path: filepath.Dir(s.Vsock), Access: "rw"},
		{Path: s.State, Access: "rw"},
	}
	if len(s.PCI) > 0 {
		rules = append(rules, api.LandlockRule{Path: "/dev/vfio", Access: "rw"})
	}
	for _, address := range s.PCI {
		rules = append(rules, api.LandlockRule{Path: pci.SystemDir(address), Access: "r"})
	}
	for _, path := range s.Readable {
		rules = append(rules, api.LandlockRule{Path: path, Access: "r"})
	}
	return rules
}

// limit lets so much pass in each second.
func limit(bandwidth, operations int64) *api.RateLimiter {
	if bandwidth == 0 && operations == 0 {
		return nil
	}
	return &api.RateLimiter{Bandwidth: bucket(bandwidth), Ops: bucket(operations)}
}

func bucket(size int64) *api.TokenBucket {
	if size == 0 {
		return nil
	}
	return &api.TokenBucket{Size: size, RefillTime: 1000}
}
