//go:build linux

package qemu

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

func worker() machineSpec {
	return machineSpec{
		Name: "mayfly:/var/lib/mayfly/pools/default/workers/default-abcdefgh", Accel: KVM, CPUs: 2, Memory: 2 << 30,
		Kernel: "/images/d/kernel", Initrd: "/images/d/initrd", Root: "root=/dev/vda",
		Disk: "/w/disk.raw", Format: "raw", Console: "/w/console.log", Network: true,
	}
}

func TestArguments(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the golden files are of amd64")
	}
	emulated := worker()
	emulated.Accel, emulated.Format = TCG, "qcow2"
	prebuild := emulated
	prebuild.Format, prebuild.Seed, prebuild.KernelArguments = "raw", "/w/seed,1.iso", []string{"ds=nocloud"}
	firmware := prebuild
	firmware.Kernel, firmware.Initrd, firmware.Root = "", "", ""
	template := emulated
	template.MemoryFile, template.MemoryUse = "/t/memory", written
	fork := template
	fork.MemoryUse, fork.Incoming = forked, true
	resumed := fork
	resumed.MemoryUse, resumed.MemoryFile = unforked, ""
	for name, spec := range map[string]machineSpec{
		"template": template, "fork": fork, "resumed-fork": resumed,
		"kvm-reflink": worker(), "tcg-overlay": emulated, "prebuild": prebuild, "prebuild-firmware": firmware,
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name+".txt", onePerLine(spec.arguments()))
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

func TestTaggedID(t *testing.T) {
	b := New(Options{Pool: "default", WorkersDir: "/var/lib/mayfly/pools/default/workers"})
	id, ours := b.taggedID([]string{"qemu", "-name", b.tag("default-abcdefgh"), "-nodefaults"})
	require.True(t, ours)
	require.Equal(t, "default-abcdefgh", id)
	for _, foreign := range [][]string{
		{},
		{"qemu", "-name"},
		{"qemu", "-name", "somebody's"},
		{"qemu", "-name", "mayfly:/var/lib/mayfly/pools/default2/workers/default2-abcdefgh"},
		{"grep", b.tag("default-abcdefgh")},
	} {
		_, ours := b.taggedID(foreign)
		require.False(t, ours, foreign)
	}
}

func TestKVMIsTakenOnlyWhenAKernelBootsOnIt(t *testing.T) {
	panicked := []byte("Linux version 6.1\r\nKernel panic - not syncing: VFS: Unable to mount root fs\r\n")
	require.Equal(t, KVM, judge(panicked, nil, nil).Name)
	for name, refused := range map[string]Acceleration{
		"hangs":                 judge([]byte("Booting from ROM.."), errors.New("killed"), errors.New("late")),
		"aborts":                judge([]byte("x\nerror: failed to set MSR 0x4b564d06\n"), errors.New("exit 1"), nil),
		"ends without a kernel": judge([]byte("Booting from ROM.."), nil, nil),
		"late after all":        judge(panicked, nil, errors.New("late")),
	} {
		require.Equal(t, TCG, refused.Name, name)
		require.Contains(t, refused.Reason, "KVM is there", name)
	}
	require.Contains(t, judge([]byte("x\nerror: failed to set MSR\n"), errors.New("exit 1"), nil).Reason, "failed to set MSR")
}
