//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// describe says when and on what a section was measured. It names neither this
// host nor a path on it.
func (b *bench) describe(ctx context.Context, s *stage, began time.Time) (report.Run, error) {
	machine, err := describeMachine(ctx, s)
	return report.Run{
		Date: began.UTC().Truncate(time.Second), Seconds: time.Since(began).Round(time.Second).Seconds(),
		Program: b.version, Machine: machine, Repeated: b.repeated,
		Guest: report.Guest{
			CPUs: guestCPUs, MemoryBytes: guestMemory, DiskBytes: guestDisk, DiskFormat: s.cloneFormat,
		},
	}, err
}

func describeMachine(ctx context.Context, s *stage) (report.Machine, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return report.Machine{}, fmt.Errorf("asking for the kernel: %w", err)
	}
	m := report.Machine{
		Cores: runtime.NumCPU(), Acceleration: s.acceleration,
		Kernel: unix.ByteSliceToString(name.Release[:]),
	}
	var err error
	if m.Processor, err = valueIn("/proc/cpuinfo", "model name"); err != nil {
		m.Processor = runtime.GOARCH // arm64 names no model
	}
	if m.MemoryBytes, err = hostMemory("MemTotal"); err != nil {
		return m, err
	}
	if m.FileSystem, err = fileSystem(ctx, s.config.StateDir); err != nil {
		return m, err
	}
	m.QEMU, err = qemuVersion(ctx, s.command[0])
	return m, err
}

// hostMemory is a value of /proc/meminfo, in bytes.
func hostMemory(name string) (int64, error) {
	value, err := valueIn("/proc/meminfo", name)
	if err != nil {
		return 0, err
	}
	kilobytes, err := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/meminfo: %w", err)
	}
	return kilobytes << 10, nil
}

// valueIn is the first value of a name in a file of lines "name : value".
func valueIn(path, name string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		found, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(found) == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s has no %q", path, name)
}

func fileSystem(ctx context.Context, dir string) (string, error) {
	out, err := exec.CommandContext(ctx, "stat", "-f", "-c", "%T", dir).Output()
	name := strings.TrimSpace(string(out))
	if name == "ext2/ext3" { // they have one magic number, and nobody has the old ones
		name = "ext4"
	}
	return name, err
}

// qemuVersion is the number in "QEMU emulator version 7.2.22 (Debian …)".
func qemuVersion(ctx context.Context, binary string) (string, error) {
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("asking QEMU for its version: %w", err)
	}
	_, rest, found := strings.Cut(string(out), "version ")
	number := strings.Fields(rest)
	if !found || len(number) == 0 {
		return "", fmt.Errorf("QEMU names no version: %q", out)
	}
	return number[0], nil
}

func version(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
