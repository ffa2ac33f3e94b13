//go:build linux

package qemu

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
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
	template := emulated
	template.MemoryFile, template.MemoryUse = "/t/memory", vmm.Written
	fork := template
	fork.MemoryUse, fork.Incoming = vmm.Forked, true
	resumed := fork
	resumed.MemoryUse, resumed.MemoryFile = vmm.Unforked, ""
	for name, spec := range map[string]vmm.Spec{
		"fork-readonly": fork,
		"template":      template, "fork": fork, "resumed-fork": resumed,
		"kvm-reflink": worker(), "tcg-overlay": emulated, "prebuild": prebuild, "prebuild-firmware": firmware,
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name+".txt", onePerLine(arguments(tag, spec, name == "fork-readonly")))
		})
	}
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
