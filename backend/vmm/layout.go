//go:build linux

package vmm

import (
	"context"
	"fmt"
	"io"
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Layout is what of a machine's hardware its guest sees, beside the sizes in Spec. A
// state that was saved with one layout fits no other: it is in the file of a suspended
// machine, and in what templates depend on. Earlier versions of the plugin wrote none,
// so that the zero value is what their machines have: a field is added with its zero
// for what was before.
type Layout struct {
	// DiskQueues is how many queues the disk has; 0 leaves it to the program.
	DiskQueues int `json:"disk_queues,omitempty"`
	// NetworkQueues is how many pairs of queues the network device has; 0 is one pair.
	NetworkQueues int `json:"network_queues,omitempty"`
	// VHost says that the host's kernel moves the packets, which offers the guest
	// somewhat less.
	VHost bool `json:"vhost,omitempty"`
	// Generation says that there is a VM generation ID: a guest whose kernel knows it
	// reseeds its generator when a restored machine has another one than was saved.
	Generation bool `json:"generation,omitempty"`
	// OneSocket has all processors be cores of one; without it the program decides.
	OneSocket bool `json:"one_socket,omitempty"`
	// Nesting says whether the guest can run machines of its own with KVM.
	Nesting Nesting `json:"nesting,omitempty"`
}

// Nesting is whether a guest sees that its processor can run virtual machines.
type Nesting string

// The values are in the files of suspended machines.
const (
	// NestingUnset leaves it to the program and the host.
	NestingUnset Nesting = ""
	NestingOff   Nesting = "off"
	NestingOn    Nesting = "on"
)

// vhostDevice has the host's kernel move the packets of virtual machines.
const vhostDevice = "/dev/vhost-net"

// abilities are what of this host and of the program decides layouts.
type abilities struct {
	accel string
	// vhost says that the kernel can move packets, and the program can have it do so.
	vhost bool
	// generation says that the program has VM generation IDs.
	generation bool
	// nests says that the kernel lets guests run machines of their own.
	nests bool
}

// layout is that of a new machine of a size, whose TAP device has so many queues.
// nested says that its guest is to run machines of its own.
func (a abilities) layout(size backend.Size, queues int, nested bool) Layout {
	l := Layout{
		DiskQueues: size.CPUs, NetworkQueues: queues, OneSocket: true, Nesting: NestingOff, Generation: a.generation,
	}
	if a.accel != kvm.KVM { // packets are copied by the thread that emulates, and nothing is hidden of its processor
		l.Nesting = NestingUnset
		return l
	}
	l.VHost = a.vhost
	if nested && a.nests {
		l.Nesting = NestingOn
	}
	return l
}

// abilities looks at the host.
func (b *Backend) abilities(accel string) abilities {
	return abilities{
		accel: accel, generation: b.traits.Generation,
		vhost: accel == kvm.KVM && b.traits.VHost && movesPackets(), nests: kvm.Nests("/") == nil,
	}
}

// movesPackets says whether the host's kernel can move packets of machines. The device
// is opened only where that may load its module: the kernel takes milliseconds to close
// it.
func movesPackets() bool {
	_, err := os.Stat("/sys/class/misc/vhost-net")
	return err == nil || opens(vhostDevice)
}

func opens(path string) bool {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = file.Close()
	return true
}

// layout is that of a machine that is made now.
func (b *Backend) layout(size backend.Size, accel string, queues int) Layout {
	return b.abilities(accel).layout(size, queues, b.options.Nested)
}

// openNested lets the job's user run machines, where the guest can.
func openNested(ctx context.Context, s Spec, agent *guest.Client) error {
	if s.Layout.Nesting != NestingOn {
		return nil
	}
	if err := agent.Run(ctx, kvm.Open, io.Discard); err != nil {
		return fmt.Errorf("letting the guest run machines of its own: %w", err)
	}
	return nil
}

// here is the layout that a machine has when it is started again on a host that may
// have less than when it was saved. What the kernel did with packets the program does
// as well: it offers the guest all that the kernel did.
func (l Layout) here() Layout {
	l.VHost = l.VHost && movesPackets()
	return l
}

// valid says whether a machine with so many processors can have been made with it.
func (l Layout) valid(cpus int) bool {
	switch l.Nesting {
	case NestingUnset, NestingOff, NestingOn:
	default:
		return false
	}
	return l.DiskQueues >= 0 && l.DiskQueues <= cpus && l.NetworkQueues >= 0 && l.NetworkQueues <= network.MostQueues
}
