//go:build linux

package qemu

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// Check looks for the programs and devices that machines need, and boots a
// kernel with KVM, if there is a kernel to boot.
func (b *Backend) Check(ctx context.Context) []doctor.Finding {
	findings := append([]doctor.Finding{b.checkQEMU(ctx)}, vmm.Check(b.options.Source)...)
	return append(findings, b.checkAcceleration(ctx))
}

func (b *Backend) checkQEMU(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: b.options.Binary}
	out, err := exec.CommandContext(ctx, b.options.Binary, "--version").Output()
	if err != nil {
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = programs.Remedy(b.options.Binary)
		return finding
	}
	finding.Detail, _, _ = strings.Cut(string(out), "\n")
	return finding
}

// checkAcceleration boots a kernel unless one was booted since the host was.
func (b *Backend) checkAcceleration(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.Warning, What: "acceleration",
		Mend: "use a machine with hardware virtualisation and a /dev/kvm of the host's own; nested ones must boot a stock kernel"}
	kernel := vmm.AnyKernel(b.options.ImagesDir)
	if kernel == "" {
		finding.Detail = "not known before the first image is built: there is no kernel to boot for a probe"
		finding.Mend = "run `fleeting-plugin-mayfly image build`, then doctor again"
		return finding
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
