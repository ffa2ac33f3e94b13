//go:build linux

package vmm

import (
	"context"
	"fmt"
	"net"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
)

// Driver knows one program that runs virtual machines. It is to this package
// what a driver is to database/sql.
type Driver interface {
	// Traits are the same at every call.
	Traits() Traits
	// Check says what this host has and lacks for the program itself. What all
	// drivers need is checked here.
	Check(ctx context.Context, options Options) []doctor.Finding
	// Launch starts the program. It does not wait for it, and the machine does
	// not run yet.
	Launch(place Place, spec Spec) (Monitor, error)
}

// Monitor is a started program and its one machine. Where a method fails, the
// machine is destroyed. The context of each ends with the program.
type Monitor interface {
	// Process is the program's.
	Process() *process.Process
	// Boot lets the machine boot.
	Boot(ctx context.Context) error
	// Restore gives the machine a saved state: that of its template, which
	// stays, or the one in Spec.State, which is used up and removed. It does not
	// run yet.
	Restore(ctx context.Context, state string) error
	// Continue lets a restored machine run.
	Continue(ctx context.Context) error
	// Agent opens the line to the guest's agent, once for each Boot and Restore;
	// the caller closes it.
	Agent(ctx context.Context) (net.Conn, error)
	// Save stops the machine, saves it to Spec.State and ends the program, in
	// such a way that the disk fits what was saved. Memory that lies in a file
	// as Written stays there. Where there was no room, it undoes what it can: an
	// error that wraps backend.ErrRunsOn says that the machine is as it was.
	Save(ctx context.Context) error
	// End is what the program said about the machine's end, if anything, and
	// whether the guest powered itself off in order. For what a guest does to its
	// machine there are words below.
	End() (words string, poweredOff bool)
	// Heard is closed when the program has ended and all that it said was read.
	Heard() <-chan struct{}
}

// What a guest does that ends its machine, in the words of a Monitor's End.
const (
	PoweredOff = "the guest powered itself off"
	Rebooted   = "the guest rebooted"
	Panicked   = "the guest's kernel panicked"
)

// DiskReporter is a Monitor that hears of writes to the machine's disk that failed
// on the host. The guest gets an I/O error, and knows no more.
type DiskReporter interface {
	// DiskErrors gets the first of them.
	DiskErrors() <-chan error
}

// PowerButton is a Monitor that can ask a guest to end in order.
type PowerButton interface {
	PressPowerButton(ctx context.Context) error
}

// Forkable is a Driver whose program cannot be forked in every version.
type Forkable interface {
	CanFork(ctx context.Context) (bool, error)
}

// Traits are what the flow has to know of a program.
type Traits struct {
	// Name is the program's in messages; Binary is found in PATH.
	Name, Binary string
	// Tag is the option that every process of the program carries, complete but
	// for WorkersDir.
	Tag process.Tag
	// Emulates says that machines run without KVM as well.
	Emulates bool
	// ProbeArguments have the program boot a kernel with KVM, up to the panic
	// that a missing root device brings; ProbeEnds says that it ends after it.
	ProbeArguments func(kernel, console string) []string
	ProbeEnds      bool
	// AnswerFile is the name of the file that keeps the probe's answer.
	AnswerFile string
	// VHost says that the program can have the host's kernel move packets.
	VHost bool
	// Generation says that it has VM generation IDs.
	Generation bool
	// WholeDisks says that a saved machine must not have an overlay for a disk.
	WholeDisks bool
	// ForksSaved says that a state that was saved of a machine can be restored any number
	// of times, without a change of it.
	ForksSaved bool
	// TemplateExtra is what templates depend on besides, in words.
	TemplateExtra string
	// Sockets and Logs are names in a machine's directory: what the program's
	// start must not find there, and the files it writes to. The first log that
	// is not empty explains an end of which the program said nothing.
	Sockets, Logs []string
}

// Place is where a machine lives.
type Place struct {
	// ID is its worker's id, and Dir its directory.
	ID, Dir string
	// Namespace is the path of its network namespace.
	Namespace string
	// Tag is the value of the option in Traits.Tag.
	Tag string
	// User is the user on the host that it runs as, and Units has its control group.
	User  int
	Units process.Units
}

// Start starts the program of a machine, confined to what the place decides and the
// spec needs. The files are those of the spec, with what the driver adds.
func (p Place) Start(c process.Command, s Spec, files Files) (*process.Process, error) {
	devices, err := s.devices()
	if err != nil {
		return nil, err
	}
	if err := files.handTo(p.User); err != nil {
		return nil, fmt.Errorf("giving the machine of %s its files: %w", p.ID, err)
	}
	largest, err := s.largestFile()
	if err != nil {
		return nil, fmt.Errorf("limiting the files of the machine of %s: %w", p.ID, err)
	}
	c.Namespace = p.Namespace
	c.Confinement = &process.Confinement{
		User: p.User, Read: files.Read, Write: slices.Concat(files.Own, files.Opened), Devices: devices,
		Unit: p.Units.Name(p.ID), Limits: s.limits(), FileSize: largest,
		LockedMemory: s.lockedMemory(),
		// Nothing of a guest's is read or runs in a fork before it goes on. What a
		// suspended machine is restored from is a guest's. The kernel's threads that move
		// packets join the group that the program has when it starts.
		JoinsLate: s.Incoming && s.MemoryUse == Forked && !s.Layout.VHost,
	}
	return process.Start(c)
}

// MemoryUse says how a machine uses the file that its memory is in.
type MemoryUse string

// The values are in the files of suspended machines.
const (
	// NoFile is memory that is in no file.
	NoFile MemoryUse = ""
	// Written: the machine's memory becomes the file's content; a template's.
	Written MemoryUse = "on"
	// Forked: pages are the file's until the machine writes to them.
	Forked MemoryUse = "off"
	// Unforked is memory in no file for a machine that was a fork.
	Unforked MemoryUse = "unforked"
)

// Spec is all that decides a machine, but for a driver's own settings. Each driver
// says it in its program's words. The file of a suspended machine holds it.
type Spec struct {
	Accel  string // kvm.KVM or kvm.TCG
	CPUs   int
	Memory int64  // bytes
	Layout Layout `json:"layout,omitzero"`
	// Kernel, Initrd and Root are booted directly; without a kernel the disk's
	// own boot loader is.
	Kernel, Initrd, Root string
	// UEFI has that boot loader be started by UEFI, and not by a BIOS.
	UEFI bool `json:",omitempty"`
	// KernelArguments come after the constant ones.
	KernelArguments []string

	Disk   string
	Format string // of the disk: raw or qcow2
	// Backing is a directory of files that the disk may read through to; empty
	// when the disk is whole.
	Backing string
	Console string
	// Seed is a read-only volume for cloud-init; empty in workers.
	Seed string
	// MemoryFile holds the machine's memory, as MemoryUse says.
	MemoryFile string
	MemoryUse  MemoryUse
	// State is the path that the machine is saved to. The driver decides whether
	// a file is there or a directory.
	State string
	// Incoming has the machine wait for a state to be restored.
	Incoming bool
	// Network says whether there is a TAP device to attach to.
	Network bool
	// PCI are the addresses of the host's devices that the machine has for its own.
	PCI []string `json:",omitempty"`
}
