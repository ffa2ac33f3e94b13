//go:build linux

package vmm

import (
	"context"
	"fmt"
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/draft"
)

// Check looks for the programs and devices that machines need, and boots a
// kernel with KVM, if there is a kernel to boot.
func (b *Backend) Check(ctx context.Context) []doctor.Finding {
	findings := append(b.driver.Check(ctx, b.options), doctor.FindProgram("qemu-img"))
	if b.options.Source == image.Debootstrap {
		findings = append(append(findings, draft.Check(ctx)...), doctor.FindProgram("mkfs.ext4"))
	}
	if warmLimit(b.options.Warm) > 0 {
		findings = append(findings, b.checkWarm())
	}
	findings = append(findings, checkTUN(), process.CheckConfinement(ctx), checkGroups(ctx), b.checkAcceleration(ctx))
	if b.options.Nested {
		findings = append(findings, b.checkNesting("/"))
	}
	return append(findings, b.checkDevices()...)
}

// checkNesting says whether jobs can run machines of their own, on the host whose kernel
// shows itself at root.
func (b *Backend) checkNesting(root string) doctor.Finding {
	finding := doctor.Finding{Level: doctor.Warning, What: "machine.nested"}
	err := kvm.Nests(root)
	switch name, _ := b.Acceleration(); {
	case name == kvm.TCG:
		finding.Detail = "it has no effect: workers run by emulation, and only KVM nests"
		finding.Mend = "see acceleration, or set plugin_config.machine.nested to false"
	case err != nil:
		finding.Detail = "it has no effect: " + err.Error()
		finding.Mend = "reload the module with its parameter, while no machine runs: " +
			"modprobe -r kvm_intel && modprobe kvm_intel nested=1 (kvm_amd on AMD)"
	default:
		finding.Level, finding.Detail = doctor.OK, "the host lets workers run machines of their own with KVM"
	}
	return finding
}

// checkGroups is no more than a warning here: a machine without limits is still one
// with a size.
func checkGroups(ctx context.Context) doctor.Finding {
	finding := process.CheckGroups(ctx)
	if finding.Level == doctor.Missing {
		finding.Level = doctor.Warning
	}
	return finding
}

// checkWarm says where the commands of fork.warm run.
func (b *Backend) checkWarm() doctor.Finding {
	if b.options.Fork {
		return doctor.Finding{Level: doctor.OK, What: "warm steps",
			Detail: "run once, in the template; a worker that boots runs them before it is ready"}
	}
	return doctor.Finding{Level: doctor.Warning, What: "warm steps",
		Detail: "run in every worker before it is ready, since there are no forks",
		Mend:   "set plugin_config.fork.enabled = true, or have image.run do what can be done once"}
}

// CheckVHost says who moves packets with KVM. Both ways work.
func CheckVHost() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: vhostDevice,
		Detail: "opens: the host's kernel moves the packets of machines with KVM"}
	if !opens(vhostDevice) {
		finding.Detail = "does not open: programs move packets themselves, which takes them more time with KVM " +
			"(modprobe vhost_net)"
	}
	return finding
}

func checkTUN() doctor.Finding {
	device, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return doctor.Finding{Level: doctor.Missing, What: "/dev/net/tun", Detail: err.Error(),
			Mend: "run as root, and load the module", Command: "modprobe tun", Safe: true}
	}
	_ = device.Close()
	return doctor.Finding{Level: doctor.OK, What: "/dev/net/tun", Detail: "opens"}
}

// checkAcceleration boots a kernel unless one was booted since the host was.
func (b *Backend) checkAcceleration(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.Warning, What: "acceleration",
		Mend: "use a machine with hardware virtualisation and a /dev/kvm of the host's own " +
			"(modprobe kvm_intel or kvm_amd); nested ones must boot a stock kernel"}
	kernel := anyKernel(b.options.ImagesDir)
	if kernel == "" {
		finding.Detail = "not known before the first image is built: there is no kernel to boot for a probe"
		finding.Mend = "run `fleeting-plugin-mayfly image build`, then doctor again"
		return finding
	}
	if !b.traits.Emulates {
		finding.Level = doctor.Missing
		finding.Mend += `. Without KVM only the backend "qemu" runs machines`
	}
	found, err := b.prober.Acceleration(ctx, kernel)
	if err != nil {
		finding.Detail = err.Error()
		return finding
	}
	finding.Detail = fmt.Sprintf("%s: %s", found.Name, found.Reason)
	if found.Name == kvm.KVM {
		finding.Level, finding.Mend = doctor.OK, ""
	}
	return finding
}
