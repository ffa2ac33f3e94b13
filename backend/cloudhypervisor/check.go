//go:build linux

package cloudhypervisor

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor/api"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

const (
	// leastVersion is the first that lets a disk's type and what it reads
	// through to be given.
	leastVersion = 51
	// forkVersion is the first whose snapshots are forked.
	forkVersion = 53
)

// install says where the binary comes from: distributions do not have it.
const install = "install the static binary of a release from v53 on, from the project's own page, as " + defaultBinary +
	" in PATH, or set plugin_config.cloud_hypervisor.binary"

// Check looks for the programs and devices that machines need, and boots a
// kernel with KVM, if there is a kernel to boot.
func (b *Backend) Check(ctx context.Context) []doctor.Finding {
	findings := append([]doctor.Finding{b.checkBinary(ctx)}, vmm.Check(b.options.Source)...)
	if b.options.Source != image.Debootstrap {
		findings = append(findings, doctor.Finding{Level: doctor.Warning, What: "image.source", Detail: errFirmware.Error(),
			Mend: `leave image.source at "debootstrap", or build the image with the backend "qemu"`})
	}
	return append(findings, checkLandlock(), checkSetpriv(), b.checkKVM(ctx))
}

// version asks the binary.
func (b *Backend) version(ctx context.Context) (api.Version, error) {
	out, err := exec.CommandContext(ctx, b.options.Binary, "--version").Output()
	if err != nil {
		return api.Version{}, fmt.Errorf("asking %s for its version: %w", b.options.Binary, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return api.ParseVersion(strings.TrimSpace(line))
}

func (b *Backend) checkBinary(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: b.options.Binary}
	version, err := b.version(ctx)
	switch {
	case err != nil:
		finding.Level, finding.Detail, finding.Mend = doctor.Missing, err.Error(), install
	case !version.AtLeast(leastVersion):
		finding.Level, finding.Mend = doctor.Missing, install
		finding.Detail = fmt.Sprintf("%s is too old: v%d is needed, and v%d for forks", version, leastVersion, forkVersion)
	case !version.AtLeast(forkVersion) && b.options.Fork:
		finding.Level, finding.Mend = doctor.Warning, install
		finding.Detail = fmt.Sprintf("%s forks no machines: every worker boots until it is v%d", version, forkVersion)
	default:
		finding.Detail = version.String()
	}
	return finding
}

// checkLandlock asks the kernel, since machines confine themselves with it.
func checkLandlock() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "landlock"}
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version)
	if errno != 0 {
		finding.Level, finding.Detail = doctor.Missing, fmt.Sprintf("this kernel has no Landlock: %v", errno)
		finding.Mend = "boot a kernel from 5.13 on that was built with it, and with landlock in the list of its parameter lsm="
		return finding
	}
	finding.Detail = fmt.Sprintf("version %d of its interface", abi)
	return finding
}

func checkSetpriv() doctor.Finding {
	finding := doctor.FindProgram("setpriv")
	if finding.Level != doctor.OK {
		finding.Level, finding.Detail = doctor.Warning, finding.Detail+": machines keep the capabilities of root"
		return finding
	}
	finding.Detail += ": machines run without capabilities"
	return finding
}

// checkKVM boots a kernel unless one was booted since the host was.
func (b *Backend) checkKVM(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.Missing, What: "KVM",
		Mend: "use a machine with hardware virtualisation and a /dev/kvm of the host's own (modprobe kvm_intel or kvm_amd); " +
			"nested ones must boot a stock kernel. Without KVM only the backend \"qemu\" runs machines"}
	kernel := vmm.AnyKernel(b.options.ImagesDir)
	if kernel == "" {
		finding.Level, finding.Detail = doctor.Warning, "not known before the first image is built: there is no kernel to boot for a probe"
		finding.Mend = "run `fleeting-plugin-mayfly image build`, then doctor again"
		return finding
	}
	found, err := b.prober.Acceleration(ctx, kernel)
	if err != nil {
		finding.Detail = err.Error()
		return finding
	}
	finding.Detail = found.Reason
	if found.Name == kvm.KVM {
		finding.Level, finding.Mend = doctor.OK, ""
	}
	return finding
}
