//go:build linux

package qemu

import (
	"encoding/json"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// settings are what decides a machine's command line beside its spec. What a guest sees
// of them differs from start to start anyway.
type settings struct {
	// readOnly says that memory is mapped privately from a file that QEMU need not be
	// able to write to.
	readOnly bool
	limits   Limits
	// generation is the VM generation ID of this start.
	generation string
	// firmware is the path of the UEFI firmware, for a machine that boots by that.
	firmware string
}

// Limits are the most that a machine may do, in a second; 0 is no limit.
type Limits struct {
	// DiskBandwidth is in bytes, and DiskOperations counts reads and writes.
	DiskBandwidth, DiskOperations int64
}

// Names of the disk's parts: what is inside the file, the file, the thread that serves
// it, and its limits.
const (
	diskName   = "root"
	fileName   = "root-file"
	diskThread = "disk"
	limitsName = "limits"
)

// l2Cache bounds what QEMU keeps of a qcow2 file's tables, in bytes, to those of a disk of
// 2 TiB. It takes no more than the disk's own tables have.
const l2Cache = 256 << 20

// diskArguments are the disk's. Workers live for one job, so their disks need not
// survive a crash of the host: nothing is flushed. Reads and writes go through the
// host's page cache: it has what all machines read of the golden disk once, and what is
// written is mostly removed before it would be. Threads do so: to what is in the cache
// io_uring has no shorter way (ADR 0054). On a full host disk the guest is told of
// the error; QEMU would rather stop it, and its job would hang.
func diskArguments(s vmm.Spec, with settings) []string {
	const written = ",cache.no-flush=on,discard=unmap"
	file := "driver=file,node-name=" + fileName + ",filename=" + escape(s.Disk) + written
	content := "driver=" + s.Format + ",node-name=" + diskName + ",file=" + fileName + written
	if s.Format == "qcow2" {
		content += fmt.Sprintf(",l2-cache-size=%d", l2Cache)
	}
	args := []string{"-object", "iothread,id=" + diskThread, "-blockdev", file, "-blockdev", content}
	drive := diskName
	if with.limits != (Limits{}) {
		drive = "limited"
		args = append(args, "-object", with.limits.object(),
			"-blockdev", "driver=throttle,node-name="+drive+",throttle-group="+limitsName+",file="+diskName+written)
	}
	device := "virtio-blk-pci,drive=" + drive + ",werror=report,rerror=report,iothread=" + diskThread
	if queues := s.Layout.DiskQueues; queues > 0 {
		device += fmt.Sprintf(",num-queues=%d", queues)
	}
	return append(args, "-device", device)
}

// object is the group of one disk that has the limits.
func (l Limits) object() string {
	limits := map[string]int64{}
	for name, value := range map[string]int64{"bps-total": l.DiskBandwidth, "iops-total": l.DiskOperations} {
		if value > 0 {
			limits[name] = value
		}
	}
	text, err := json.Marshal(map[string]any{"qom-type": "throttle-group", "id": limitsName, "limits": limits})
	if err != nil {
		panic(err) // it holds only strings and numbers
	}
	return string(text)
}

// networkArguments attach the machine to its TAP device. Each pair of queues has two
// interrupts, and the device two more.
func networkArguments(l vmm.Layout) []string {
	netdev := "tap,id=net,ifname=" + network.TAP + ",script=no,downscript=no"
	device := "virtio-net-pci,netdev=net,mac=" + network.GuestMAC + ",romfile="
	if l.NetworkQueues > 1 {
		netdev += fmt.Sprintf(",queues=%d", l.NetworkQueues)
		device += fmt.Sprintf(",mq=on,vectors=%d", 2*l.NetworkQueues+2)
	}
	if l.VHost {
		netdev += ",vhost=on"
	}
	return []string{"-netdev", netdev, "-device", device}
}

// passedThrough are devices of the host's that become the machine's own.
func passedThrough(addresses []string) (args []string) {
	for _, address := range addresses {
		args = append(args, "-device", "vfio-pci,host="+address)
	}
	return args
}
