//go:build linux

package qemu

import (
	"fmt"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Descriptors that a machine inherits: sockets that listen already, so that
// nobody has to wait until QEMU has opened them.
const (
	agentFD = 3
	qmpFD   = 4
)

// networkName is what QEMU calls a machine's end of its TAP device.
const networkName = "net"

// arguments is QEMU's command line. Workers live for one job, so their disks
// need not survive a crash of the host: nothing is flushed. On a full host disk
// the guest is told of the error; QEMU would rather stop it, and its job would
// hang. readOnly says that memory is mapped privately from a file that QEMU need
// not be able to write to.
func arguments(tag string, s vmm.Spec, readOnly bool) []string {
	args := []string{
		"-name", tag,
		"-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-machine", machineOption(s), "-accel", accelerator(s.Accel),
		"-cpu", processorModel(s.Accel),
		"-smp", strconv.Itoa(s.CPUs),
		"-m", strconv.FormatInt(s.Memory>>20, 10),
		"-chardev", "file,id=console,append=on,path=" + escape(s.Console),
		"-serial", "chardev:console",
		"-device", "virtio-rng-pci",
		"-blockdev", "driver=file,node-name=root-file,filename=" + escape(s.Disk) + ",cache.no-flush=on,discard=unmap",
		"-blockdev", fmt.Sprintf("driver=%s,node-name=root,file=root-file,cache.no-flush=on,discard=unmap", s.Format),
		"-device", "virtio-blk-pci,drive=root,werror=report,rerror=report",
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=agent,fd=%d,server=on,wait=off", agentFD),
		"-device", "virtserialport,chardev=agent,name=" + guest.PortName,
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d,server=on,wait=off", qmpFD),
		"-mon", "chardev=qmp,mode=control",
	}
	switch s.MemoryUse {
	case vmm.Written, vmm.Forked:
		backend := fmt.Sprintf("memory-backend-file,id=memory,size=%d,mem-path=%s,share=%s",
			s.Memory, escape(s.MemoryFile), s.MemoryUse)
		if readOnly && s.MemoryUse == vmm.Forked {
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
	if s.Network {
		args = append(args,
			"-netdev", "tap,id="+networkName+",ifname="+network.TAP+",script=no,downscript=no",
			"-device", "virtio-net-pci,netdev="+networkName+",mac="+network.GuestMAC+",romfile=")
	}
	if s.Seed != "" {
		args = append(args,
			"-blockdev", fmt.Sprintf("driver=file,node-name=seed-file,filename=%s,read-only=on", escape(s.Seed)),
			"-blockdev", "driver=raw,node-name=seed,file=seed-file,read-only=on",
			"-device", "virtio-blk-pci,drive=seed")
	}
	return args
}

// accelerator bounds the buffer for the guest's translated code, in MiB. When it is
// full, QEMU empties it. By default it grows to a gigabyte.
func accelerator(name string) string {
	if name == kvm.TCG {
		return fmt.Sprintf("%s,tb-size=%d", name, vmm.Translations>>20)
	}
	return name
}

func machineOption(s vmm.Spec) string {
	option := machineType()
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
