package config

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Machine says what one worker gets.
type Machine struct {
	CPUs int
	// Memory and Disk are in bytes, always whole mebibytes.
	Memory int64
	Disk   int64
	// StartTimeout is how long a worker may take to become ready before it
	// counts as failed. The runner has no such limit of its own.
	StartTimeout time.Duration
	// DiskBandwidth, in bytes, and DiskOperations are the most that a worker's disk may
	// do in a second; 0 is no limit.
	DiskBandwidth, DiskOperations int64
	// Nested says that jobs are to run virtual machines of their own.
	Nested bool
	// Devices are the PCI addresses of the host's devices that a worker has for its own.
	Devices []string
}

// diskOperations and diskBandwidth are settings of two sections.
func diskBandwidth(to *int64) value { return size(to, mib) }

func diskOperations(to *int64) value {
	return whole(to, atLeast(1, "would let no disk work: write at least 1, or remove it for no limit"))
}

// The least that a machine needs to boot a distribution and log in. The most
// CPUs are what QEMU's machine takes without further settings.
const (
	minMemory       = 256 * mib
	minDisk         = 2 * gib
	maxCPUs         = 256
	minStartTimeout = time.Second
)

func machineSection(c *Config) section {
	m := &c.Machine
	return section{name: "machine", together: c.checkMachine, keys: []key{
		{name: "cpus", value: whole(&m.CPUs, between(1, maxCPUs)), fallback: `2`,
			about: "virtual processors of each worker", refused: "below 1, above 256"},
		{name: "memory", value: size(&m.Memory, minMemory), fallback: `"2GiB"`,
			about: "memory of each worker. One that does not fit beside the others on the host waits until it does, " +
				"whichever pool they are of: [what workers share](../guides/host.md)",
			refused: "below 256MiB"},
		{name: "disk", value: size(&m.Disk, minDisk), fallback: `"10GiB"`,
			about: "size of each worker's disk, a container's too; only what is written takes room. At least as big as " +
				"the cloud image's, which is checked when the image is built",
			refused: "below 2GiB"},
		{name: "start_timeout", value: text(&m.StartTimeout, parseStartTimeout), fallback: `"10m"`, kind: "duration",
			about: "a worker that is not ready by then is destroyed. Waiting for the image, for the template, for " +
				"room on the host or for a start slot does not count; one for which there is no room on the host for " +
				"as long as this fails too",
			refused: "below 1s"},
		{name: "disk_bandwidth", value: diskBandwidth(&m.DiskBandwidth), example: `"200MiB"`,
			otherwise: "no limit",
			about:     "bytes that a virtual machine's disk reads and writes in a second, at most",
			refused:   "below 1MiB; with another backend than qemu, cloudhypervisor or auto"},
		{name: "disk_operations", value: diskOperations(&m.DiskOperations), example: `5000`,
			otherwise: "no limit",
			about:     "reads and writes of a virtual machine's disk in a second, at most",
			refused:   "below 1; with another backend than qemu, cloudhypervisor or auto"},
		{name: "nested", value: boolean(&m.Nested), fallback: `false`,
			about: "jobs may run virtual machines of their own: `/dev/kvm` is there in the worker, for its user, where " +
				"the host has KVM and lets guests nest it ([hardware](../guides/hardware.md)). `false`: the processor " +
				"does not show that it could",
			refused: "with tart or bhyve, the first of which has a key of its own"},
		{name: "devices", value: list(&m.Devices, parseDevice), example: `["0000:41:00.0"]`,
			about: "PCI addresses of the host's devices, such as GPUs, that the worker has for its own " +
				"([hardware](../guides/hardware.md)). The pool then has one worker at a time, which boots: there are no " +
				"forks, and nothing is suspended. Virtual machines only",
			refused: "anything but a full address as `lspci -D` shows it; an address twice; with another backend " +
				"than qemu, cloudhypervisor or auto"},
	}}
}

// A device's domain, bus, slot and function.
var parseDevice = matching(regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$`),
	`is not the address of a PCI device: write it as lspci -D shows it, for instance "0000:41:00.0"`)

// checkMachine refuses what no worker of the backend could have.
func (c *Config) checkMachine(r *reading) {
	c.checkDevices(r)
	refuse := func(key string, asked bool, backends ...string) {
		if asked && slices.Contains(backends, c.Backend) && !r.wrong("backend") {
			r.refuse(key, "the backend %q has nothing of the kind: remove it, or use %q", c.Backend, BackendQEMU)
		}
	}
	refuse("machine.disk_bandwidth", c.Machine.DiskBandwidth > 0, BackendNspawn, BackendTart, BackendBhyve)
	refuse("machine.disk_operations", c.Machine.DiskOperations > 0, BackendNspawn, BackendTart, BackendBhyve)
	refuse("machine.nested", c.Machine.Nested, BackendTart, BackendBhyve)
}

// checkDevices refuses devices that cannot be given away, or not twice.
func (c *Config) checkDevices(r *reading) {
	if r.wrong("machine.devices", "backend") || len(c.Machine.Devices) == 0 {
		return
	}
	for i, device := range c.Machine.Devices {
		if slices.Contains(c.Machine.Devices[:i], device) {
			r.refuse("machine.devices", "%q is given twice: remove one", device)
		}
	}
	if !slices.Contains([]string{BackendAuto, BackendQEMU, BackendCloudHypervisor}, c.Backend) {
		r.refuse("machine.devices", "the backend %q cannot give a device of the host to a worker: "+
			"use %q or %q, or remove the devices", c.Backend, BackendQEMU, BackendCloudHypervisor)
	}
}

func parseStartTimeout(text string) (time.Duration, error) {
	timeout, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a valid duration: write a number with a unit, for instance \"10m\"", text)
	}
	if timeout < minStartTimeout {
		return 0, fmt.Errorf("%q is too short: write at least %q", text, minStartTimeout)
	}
	return timeout, nil
}
