//go:build linux

package vmm

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
)

// consoleDevice is the guest's serial port, as its kernel names it.
func consoleDevice() string {
	if runtime.GOARCH == "arm64" {
		return "ttyAMA0"
	}
	return "ttyS0"
}

// ProbeCommandLine is what a kernel is told that is only to show that it boots:
// it ends at once after its panic.
func ProbeCommandLine() string { return "console=" + consoleDevice() + " panic=-1" }

// KernelCommandLine is what the machine's kernel is told.
func (s Spec) KernelCommandLine() string {
	words := []string{
		"console=" + consoleDevice(), s.Root, "rw",
		// Errors are shown, such as a process that was killed for want of memory: they
		// are in the console that is kept.
		"quiet", "loglevel=4", "systemd.show_status=false",
		"panic=-1", "fsck.mode=skip", "net.ifnames=0", "random.trust_cpu=on",
	}
	if s.Accel == kvm.TCG {
		// Without hardware help these cost far more than they give: the guest
		// is no side-channel risk beyond its own process.
		words = append(words, "mitigations=off", "nokaslr", "tsc=reliable", "no_timer_check")
	}
	return strings.Join(append(words, s.KernelArguments...), " ")
}

// probeKernel is a kernel to try a machine with, while an image is being made:
// the image's own, or else one of the host's. What matters is that it is a
// real one.
func probeKernel(golden image.Golden) string {
	if _, err := os.Stat(golden.Kernel()); err == nil {
		return golden.Kernel()
	}
	return hostKernel()
}

// anyKernel is a kernel to try a machine with: that of some image, or else one
// of the host's. It is empty when there is none.
func anyKernel(imagesDir string) string {
	images, _ := cache.New(imagesDir).List() // none is as good as unreadable ones
	for _, golden := range images {
		return golden.Kernel()
	}
	return hostKernel()
}

// hostKernel is empty on a host that keeps no kernel, such as a container.
func hostKernel() string {
	kernels, err := filepath.Glob("/boot/vmlinuz-*")
	if err != nil || len(kernels) == 0 {
		return ""
	}
	return kernels[len(kernels)-1]
}
