//go:build linux

package qemu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
)

// Check looks for the programs and devices that machines need, and boots a
// kernel with KVM, if there is a kernel to boot.
func (b *Backend) Check(ctx context.Context) []backend.Finding {
	findings := []backend.Finding{b.checkQEMU(ctx)}
	tools := map[string]string{"qemu-img": "qemu-utils"}
	if b.options.Source == image.Debootstrap {
		tools["mmdebstrap"], tools["mkfs.ext4"] = "mmdebstrap", "e2fsprogs"
	}
	for _, tool := range []string{"qemu-img", "mmdebstrap", "mkfs.ext4"} {
		if pkg, needed := tools[tool]; needed {
			findings = append(findings, checkTool(tool, pkg))
		}
	}
	return append(findings, checkTUN(), b.checkAcceleration(ctx))
}

func (b *Backend) checkQEMU(ctx context.Context) backend.Finding {
	finding := backend.Finding{Level: backend.OK, What: b.options.Binary}
	out, err := exec.CommandContext(ctx, b.options.Binary, "--version").Output()
	if err != nil {
		finding.Level, finding.Detail = backend.Missing, err.Error()
		finding.Mend = "apt-get install qemu-system-x86"
		if strings.Contains(b.options.Binary, "aarch64") {
			finding.Mend = "apt-get install qemu-system-arm"
		}
		return finding
	}
	finding.Detail, _, _ = strings.Cut(string(out), "\n")
	return finding
}

func checkTool(tool, pkg string) backend.Finding {
	path, err := exec.LookPath(tool)
	if err != nil {
		return backend.Finding{Level: backend.Missing, What: tool, Detail: "not found in PATH", Mend: "apt-get install " + pkg}
	}
	return backend.Finding{Level: backend.OK, What: tool, Detail: path}
}

func checkTUN() backend.Finding {
	device, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return backend.Finding{Level: backend.Missing, What: "/dev/net/tun", Detail: err.Error(),
			Mend: "run as root, and load the module: modprobe tun"}
	}
	_ = device.Close()
	return backend.Finding{Level: backend.OK, What: "/dev/net/tun", Detail: "opens"}
}

// checkAcceleration boots a kernel unless one was booted since the host was.
func (b *Backend) checkAcceleration(ctx context.Context) backend.Finding {
	finding := backend.Finding{Level: backend.Warning, What: "acceleration",
		Mend: "use a machine with hardware virtualisation and a /dev/kvm of the host's own; nested ones must boot a stock kernel"}
	kernel := b.anyKernel()
	if kernel == "" {
		finding.Detail = "not known before the first image is built: there is no kernel to boot for a probe"
		finding.Mend = "run `fleeting-plugin-mayfly image build`, then doctor again"
		return finding
	}
	found, err := b.prober.acceleration(ctx, kernel)
	if err != nil {
		finding.Detail = err.Error()
		return finding
	}
	finding.Detail = fmt.Sprintf("%s: %s", found.Name, found.Reason)
	if found.Name == KVM {
		finding.Level, finding.Mend = backend.OK, ""
	}
	return finding
}

func (b *Backend) anyKernel() string {
	images, _ := cache.New(b.options.ImagesDir).List() // none is as good as unreadable ones
	for _, golden := range images {
		return golden.Kernel()
	}
	return hostKernel()
}
