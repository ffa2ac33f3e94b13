//go:build linux

package qemu

import (
	"fmt"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// Descriptors that a machine inherits: sockets that listen already, so that
// nobody has to wait until QEMU has opened them.
const (
	agentFD = 3
	qmpFD   = 4
)

// arguments is QEMU's command line.
func arguments(tag string, s vmm.Spec, with settings) []string {
	args := []string{
		"-name", tag,
		"-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-machine", machineOption(s),
		"-cpu", processorModel(s.Accel) + nesting(s.Layout),
		"-smp", topology(s),
		"-m", strconv.FormatInt(s.Memory>>20, 10),
		"-chardev", "file,id=console,append=on,path=" + escape(s.Console),
		"-serial", "chardev:console",
		"-device", "virtio-rng-pci",
	}
	args = append(args, diskArguments(s, with)...)
	args = append(args,
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=agent,fd=%d,server=on,wait=off", agentFD),
		"-device", "virtserialport,chardev=agent,name="+guest.PortName,
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d,server=on,wait=off", qmpFD),
		"-mon", "chardev=qmp,mode=control",
	)
	switch s.MemoryUse {
	case vmm.Written, vmm.Forked:
		backend := fmt.Sprintf("memory-backend-file,id=memory,size=%d,mem-path=%s,share=%s",
			s.Memory, escape(s.MemoryFile), s.MemoryUse)
		if with.readOnly && s.MemoryUse == vmm.Forked {
			backend += ",readonly=on,rom=off"
		}
		args = append(args, "-object", backend)
	case vmm.Unforked: // by the same name, so that what the fork saved fits
		args = append(args, "-object", fmt.Sprintf("memory-backend-ram,id=memory,size=%d", s.Memory))
	}
	if s.Incoming {
		args = append(args, "-incoming", "defer")
	}
	if s.Kernel != "" {
		args = append(args, "-kernel", s.Kernel, "-initrd", s.Initrd, "-append", s.KernelCommandLine())
	}
	if s.UEFI {
		args = append(args, "-bios", with.firmware)
	}
	if s.Network {
		args = append(args, networkArguments(s.Layout)...)
	}
	if s.Seed != "" {
		args = append(args,
			"-blockdev", fmt.Sprintf("driver=file,node-name=seed-file,filename=%s,read-only=on", escape(s.Seed)),
			"-blockdev", "driver=raw,node-name=seed,file=seed-file,read-only=on",
			"-device", "virtio-blk-pci,drive=seed")
	}
	if s.Layout.Generation {
		args = append(args, "-device", "vmgenid,guid="+with.generation)
	}
	return append(args, passedThrough(s.PCI)...)
}

// topology has all processors be cores of one socket, as most hosts' are: guests
// schedule by it.
func topology(s vmm.Spec) string {
	cpus := strconv.Itoa(s.CPUs)
	if s.Layout.OneSocket {
		return cpus + ",sockets=1,cores=" + cpus + ",threads=1"
	}
	return cpus
}

func machineOption(s vmm.Spec) string {
	option := machineType() + ",accel=" + s.Accel
	if s.MemoryUse != vmm.NoFile {
		option += ",memory-backend=memory"
	}
	return option
}

// probeArguments boot a kernel with KVM, up to its panic.
func probeArguments(kernel, console string) []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", machineType() + ",accel=kvm", "-cpu", "host", "-m", "256",
		"-kernel", kernel, "-append", vmm.ProbeCommandLine(),
		"-serial", "file:" + console,
	}
}

// escape doubles commas, which separate QEMU's options.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }
