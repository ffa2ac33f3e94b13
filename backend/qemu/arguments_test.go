//go:build linux

package qemu

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
)

var update = flag.Bool("update", false, "write the golden files anew")

const tag = "mayfly:/var/lib/mayfly/pools/default/workers/default-abcdefgh"

func worker() vmm.Spec {
	return vmm.Spec{
		Accel: kvm.KVM, CPUs: 2, Memory: 2 << 30,
		Kernel: "/images/d/kernel", Initrd: "/images/d/initrd", Root: "root=/dev/vda",
		Disk: "/w/disk.raw", Format: "raw", Console: "/w/console.log", Network: true,
	}
}

func TestArguments(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the golden files are of amd64")
	}
	emulated := worker()
	emulated.Accel, emulated.Format = kvm.TCG, "qcow2"
	prebuild := emulated
	prebuild.Format, prebuild.Seed, prebuild.KernelArguments = "raw", "/w/seed,1.iso", []string{"ds=nocloud"}
	firmware := prebuild
	firmware.Kernel, firmware.Initrd, firmware.Root = "", "", ""
	uefi := firmware
	uefi.UEFI = true
	template := emulated
	template.MemoryFile, template.MemoryUse = "/t/memory", vmm.Written
	fork := template
	fork.MemoryUse, fork.Incoming = vmm.Forked, true
	resumed := fork
	resumed.MemoryUse, resumed.MemoryFile = vmm.Unforked, ""
	laidOut := worker()
	laidOut.Layout = vmm.Layout{DiskQueues: 2, NetworkQueues: 2, OneSocket: true, Nesting: vmm.NestingOff}
	vhost := laidOut
	vhost.Layout.VHost, vhost.Layout.Nesting = true, vmm.NestingOn
	one := vhost
	one.CPUs, one.Layout.DiskQueues, one.Layout.NetworkQueues = 1, 1, 1
	laidOutEmulated := emulated
	laidOutEmulated.Layout = vmm.Layout{DiskQueues: 2, NetworkQueues: 2, OneSocket: true, Generation: true}
	passthrough := vhost
	passthrough.PCI = []string{"0000:41:00.0", "0000:41:00.1"}
	for name, c := range map[string]struct {
		spec vmm.Spec
		with settings
	}{
		// The specs without a layout are those of machines that earlier versions suspended.
		"template": {spec: template}, "fork": {spec: fork}, "resumed-fork": {spec: resumed},
		"fork-readonly": {fork, settings{readOnly: true}},
		"kvm-reflink":   {spec: worker()}, "tcg-overlay": {spec: emulated},
		"prebuild": {spec: prebuild}, "prebuild-firmware": {spec: firmware},
		"prebuild-uefi": {uefi, settings{firmware: "/usr/share/ovmf/OVMF.fd"}},

		"laid-out": {spec: laidOut}, "laid-out-vhost": {spec: vhost}, "laid-out-one-processor": {spec: one},
		"laid-out-emulated": {laidOutEmulated, settings{generation: "c4f0d1f6-4b5c-4f0e-9d2a-0123456789ab"}},
		"limited":           {laidOut, settings{limits: Limits{DiskBandwidth: 200 << 20, DiskOperations: 5000}}},
		"limited-bandwidth": {laidOutEmulated, settings{limits: Limits{DiskBandwidth: 200 << 20}, generation: "G"}},
		"passthrough":       {spec: passthrough},
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name+".txt", onePerLine(arguments(tag, c.spec, c.with)))
		})
	}
}

// TestASuspendedMachineOfAnEarlierVersionHasTheDevicesThatItHad reads a spec as it was
// written before there were layouts, and compares what the guest sees with what that
// version told QEMU.
func TestASuspendedMachineOfAnEarlierVersionHasTheDevicesThatItHad(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "suspended-before-layouts.json"))
	require.NoError(t, err)
	var spec vmm.Spec
	require.NoError(t, json.Unmarshal(text, &spec))
	require.Equal(t, []string{
		"-machine q35,accel=kvm,memory-backend=memory", "-cpu host", "-smp 2", "-m 2048",
		"-device virtio-rng-pci", "-device virtio-blk-pci,drive=root,werror=report,rerror=report",
		"-device virtio-serial-pci", "-device virtserialport,chardev=agent,name=mayfly.agent.0",
		"-device virtio-net-pci,netdev=net,mac=02:6d:66:00:00:02,romfile=",
	}, visible(arguments(tag, spec, settings{})))
}

// visible are the arguments that decide what a guest sees.
func visible(arguments []string) (seen []string) {
	for line := range strings.Lines(onePerLine(arguments)) {
		option, _, _ := strings.Cut(line, " ")
		if slices.Contains([]string{"-machine", "-cpu", "-smp", "-m", "-device"}, option) {
			// Which of the host's threads serves a device is none of the guest's business.
			seen = append(seen, strings.Replace(strings.TrimSpace(line), ",iothread="+diskThread, "", 1))
		}
	}
	return seen
}

// onePerLine puts an option and its value on one line.
func onePerLine(arguments []string) string {
	var text strings.Builder
	for i, argument := range arguments {
		switch {
		case i == 0:
		case strings.HasPrefix(argument, "-"):
			text.WriteString("\n")
		default:
			text.WriteString(" ")
		}
		text.WriteString(argument)
	}
	return text.String() + "\n"
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}
