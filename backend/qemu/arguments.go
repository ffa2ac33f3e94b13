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

// memoryUse says how a machine uses the file that its memory is in.
type memoryUse string

const (
	// noFile is memory that is in no file.
	noFile memoryUse = ""
	// written: the machine's memory becomes the file's content; a template's.
	written memoryUse = "on"
	// forked: pages are the file's until the machine writes to them.
	forked memoryUse = "off"
	// unforked is memory in no file for a machine that was a fork: it goes by
	// the same name, so that what the fork saved fits.
	unforked memoryUse = "unforked"
)

// machineSpec is all that decides QEMU's command line.
type machineSpec struct {
	// Name is the tag by which the process is found again.
	Name   string
	Accel  string // kvm.KVM or kvm.TCG
	CPUs   int
	Memory int64 // bytes
	// Kernel, Initrd and Root are booted directly; without a kernel the disk's
	// own boot loader is.
	Kernel, Initrd, Root string

	Disk    string
	Format  string // of the disk: raw or qcow2
	Console string
	// Seed is a read-only volume for cloud-init; empty in workers.
	Seed string
	// MemoryFile holds the machine's memory, as MemoryUse says.
	MemoryFile string
	MemoryUse  memoryUse
	// Incoming has the machine wait for a state to be restored.
	Incoming bool
	// Network says whether there is a TAP device to attach to.
	Network bool
	// KernelArguments come after the constant ones.
	KernelArguments []string
}

// arguments is QEMU's command line. Workers live for one job, so their disks
// need not survive a crash of the host: nothing is flushed. On a full host disk
// the guest is told of the error; QEMU would rather stop it, and its job would
// hang.
func (s machineSpec) arguments() []string {
	args := []string{
		"-name", s.Name,
		"-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-machine", s.machine(),
		"-cpu", s.cpu(),
		"-smp", strconv.Itoa(s.CPUs),
		"-m", strconv.FormatInt(s.Memory>>20, 10),
		"-chardev", "file,id=console,append=on,path=" + escape(s.Console),
		"-serial", "chardev:console",
		"-device", "virtio-rng-pci",
		"-blockdev", fmt.Sprintf("driver=file,node-name=root-file,filename=%s,cache.no-flush=on,discard=unmap", escape(s.Disk)),
		"-blockdev", fmt.Sprintf("driver=%s,node-name=root,file=root-file,cache.no-flush=on,discard=unmap", s.Format),
		"-device", "virtio-blk-pci,drive=root,werror=report,rerror=report",
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=agent,fd=%d,server=on,wait=off", agentFD),
		"-device", "virtserialport,chardev=agent,name=" + guest.PortName,
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d,server=on,wait=off", qmpFD),
		"-mon", "chardev=qmp,mode=control",
	}
	switch s.MemoryUse {
	case written, forked:
		args = append(args, "-object", fmt.Sprintf("memory-backend-file,id=memory,size=%d,mem-path=%s,share=%s",
			s.Memory, escape(s.MemoryFile), s.MemoryUse))
	case unforked:
		args = append(args, "-object", fmt.Sprintf("memory-backend-ram,id=memory,size=%d", s.Memory))
	}
	if s.Incoming {
		args = append(args, "-incoming", "defer")
	}
	if s.Kernel != "" {
		args = append(args, "-kernel", s.Kernel, "-initrd", s.Initrd, "-append",
			vmm.KernelCommandLine(s.Root, s.Accel == kvm.TCG, s.KernelArguments...))
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

func (s machineSpec) machine() string {
	machine := machineType() + ",accel=" + s.Accel
	if s.MemoryUse != noFile {
		machine += ",memory-backend=memory"
	}
	return machine
}

func (s machineSpec) cpu() string {
	if s.Accel == kvm.KVM {
		return "host"
	}
	return emulatedProcessor()
}

// probeArguments boot a kernel with KVM, up to its panic.
func probeArguments(kernel, console string) []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", machineType() + ",accel=kvm", "-cpu", "host", "-m", "256",
		"-kernel", kernel, "-append", "console=" + vmm.ConsoleDevice() + " panic=-1",
		"-serial", "file:" + console,
	}
}

// escape doubles commas, which separate QEMU's options.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }
