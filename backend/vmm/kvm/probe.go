//go:build linux

package kvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

const (
	// probeLimit bounds the probe boot. A kernel on working KVM gets to its
	// panic in about a second.
	probeLimit = 8 * time.Second
	// glance is the pause between two looks at the console.
	glance = 20 * time.Millisecond
)

var errPanicked = errors.New("the kernel came as far as its panic")

// probe boots the kernel with KVM.
func (p *Prober) probe(ctx context.Context, kernel string) Acceleration {
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return Acceleration{TCG, fmt.Sprintf("no usable KVM: %v", err)}
	}
	_ = device.Close()
	dir, err := os.MkdirTemp("", "mayfly-probe-")
	if err != nil {
		return Acceleration{TCG, fmt.Sprintf("KVM could not be tried: %v", err)}
	}
	defer os.RemoveAll(dir)
	out, err, late := p.boot(ctx, kernel, filepath.Join(dir, "console"))
	return p.judge(out, err, late)
}

// boot returns what the binary and the kernel printed, how the binary ended,
// and whether it was ended for being late.
func (p *Prober) boot(ctx context.Context, kernel, console string) (out []byte, err error, late bool) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	ctx, panicked := context.WithCancelCause(ctx)
	defer panicked(nil)
	if !p.EndsByItself {
		go func() {
			for ctx.Err() == nil && !hasPanicked(readFile(console)) {
				time.Sleep(glance)
			}
			panicked(errPanicked)
		}()
	}
	// A binary that hangs on a broken KVM must not outlive us: it dies with the
	// thread that started it, which therefore is this one until it has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, p.Binary, p.Arguments(kernel, console)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	printed, err := cmd.CombinedOutput()
	return append(printed, readFile(console)...), err, errors.Is(context.Cause(ctx), context.DeadlineExceeded)
}

// judge takes KVM only when the kernel came as far as its panic, and the
// binary then ended by itself, if that is its way.
func (p *Prober) judge(out []byte, err error, late bool) Acceleration {
	switch {
	case late:
		return Acceleration{TCG, fmt.Sprintf("KVM is there, but a kernel did not boot on it within %s", probeLimit)}
	case hasPanicked(out) && (err == nil || !p.EndsByItself):
		return Acceleration{KVM, "a probe boot works"}
	case err != nil:
		return Acceleration{TCG, fmt.Sprintf("KVM is there, but %s failed on it: %v: %s", p.Binary, err, lastLine(out))}
	}
	return Acceleration{TCG, "KVM is there, but a kernel did not boot on it: " + lastLine(out)}
}

func hasPanicked(out []byte) bool { return bytes.Contains(out, []byte("Kernel panic")) }

// readFile is empty for a file that is not there yet.
func readFile(path string) []byte {
	text, _ := os.ReadFile(path)
	return text
}

func lastLine(out []byte) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return string(bytes.TrimSpace(lines[len(lines)-1]))
}
