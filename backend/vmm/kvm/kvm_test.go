//go:build linux

package kvm

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var panicked = []byte("Linux version 6.1\r\nKernel panic - not syncing: VFS: Unable to mount root fs\r\n")

func TestKVMIsTakenOnlyWhenAKernelBootsOnIt(t *testing.T) {
	ends := &Prober{Binary: "vmm", EndsByItself: true}
	require.Equal(t, KVM, ends.judge(panicked, nil, false).Name)
	for name, refused := range map[string]Acceleration{
		"hangs":                 ends.judge([]byte("Booting from ROM.."), errors.New("killed"), true),
		"aborts":                ends.judge([]byte("x\nerror: failed to set MSR 0x4b564d06\n"), errors.New("exit 1"), false),
		"ends without a kernel": ends.judge([]byte("Booting from ROM.."), nil, false),
		"late after all":        ends.judge(panicked, nil, true),
		"dies of the panic":     ends.judge(panicked, errors.New("signal"), false),
	} {
		require.Equal(t, TCG, refused.Name, name)
		require.Contains(t, refused.Reason, "KVM is there", name)
	}
	require.Contains(t, ends.judge([]byte("x\nerror: failed to set MSR\n"), errors.New("exit 1"), false).Reason, "failed to set MSR")

	reboots := &Prober{Binary: "vmm"}
	require.Equal(t, KVM, reboots.judge(panicked, errors.New("killed"), false).Name)
	require.Equal(t, TCG, reboots.judge([]byte("x"), errors.New("exit 1"), false).Name)
}

// TestOneThatRebootsForEverIsEndedAtThePanic has a script for a monitor.
func TestOneThatRebootsForEverIsEndedAtThePanic(t *testing.T) {
	script := filepath.Join(t.TempDir(), "vmm")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho 'Kernel panic' >>$2; exec sleep 60\n"), 0o755))
	p := &Prober{Binary: script, Log: slog.New(slog.DiscardHandler), Arguments: func(kernel, console string) []string { return []string{kernel, console} }}
	out, err, late := p.boot(t.Context(), "/kernel", filepath.Join(t.TempDir(), "console"))
	require.False(t, late)
	require.Equal(t, KVM, p.judge(out, err, late).Name, "%s %v", out, err)
}

// TestRefusalIsLookedAtAgain has a script for a monitor, which fails until it is
// told not to.
func TestRefusalIsLookedAtAgain(t *testing.T) {
	if device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		t.Skip("without a device nothing is tried: ", err)
	} else {
		require.NoError(t, device.Close())
	}
	dir := t.TempDir()
	script, quiet := filepath.Join(dir, "vmm"), filepath.Join(dir, "quiet")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\ntest -e "+quiet+" && echo 'Kernel panic' >>$2\n"), 0o755))
	p := &Prober{
		Binary: script, EndsByItself: true, AnswerFile: filepath.Join(dir, "answer"), Log: slog.New(slog.DiscardHandler),
		Arguments: func(kernel, console string) []string { return []string{kernel, console} },
	}
	name := func() string {
		found, err := p.Acceleration(t.Context(), script)
		require.NoError(t, err)
		return found.Name
	}
	require.Equal(t, TCG, name())
	require.NoError(t, os.WriteFile(quiet, nil, 0o600))
	require.Equal(t, TCG, name(), "it stands")
	require.False(t, p.doubting)
	p.known.At = p.known.At.Add(-refusalStands)
	require.Equal(t, TCG, name(), "nobody waits")
	require.Eventually(t, func() bool { return name() == KVM }, time.Minute, 5*time.Millisecond)

	other := &Prober{AnswerFile: p.AnswerFile}
	require.Equal(t, KVM, other.Answer().Name)
	p.known.At = p.known.At.Add(-refusalStands)
	require.Equal(t, KVM, name())
	require.False(t, p.doubting, "what works once works")
}
