//go:build linux

package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
)

// Names of accelerations, as QEMU has them.
const (
	KVM = "kvm"
	TCG = "tcg" // emulation
)

// Acceleration is how machines run, and why so.
type Acceleration struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// probeLimit bounds the probe boot. A kernel on working KVM gets to its panic
// in about a second.
const probeLimit = 8 * time.Second

// prober finds out once which acceleration this host really has. A KVM that
// opens proves nothing: one that is nested or half emulated starts a machine,
// and hangs in the first kernel that is more than a boot loader. So the kernel
// that the workers run is booted once, up to the panic that a missing root
// device brings.
type prober struct {
	binary string
	// memory is a file that keeps the answer until the next boot of the host.
	memory string
	log    *slog.Logger

	mu    sync.Mutex
	known *Acceleration
}

// remembered is what is kept, with what it depends on.
type remembered struct {
	Acceleration
	BootID string    `json:"boot_id"`
	Kernel time.Time `json:"kernel"`
	Binary time.Time `json:"binary"`
	At     time.Time `json:"at"`
}

// refusalStands is how long an answer against KVM is believed: the reason may
// have been a host that was too busy, or be mended by now.
const refusalStands = time.Hour

// stands says whether an old answer still holds now.
func (r remembered) stands(now remembered) bool {
	return r.BootID == now.BootID && r.Kernel.Equal(now.Kernel) && r.Binary.Equal(now.Binary) &&
		(r.Name == KVM || now.At.Sub(r.At) < refusalStands)
}

// acceleration probes with the kernel, or answers from memory.
func (p *prober) acceleration(ctx context.Context, kernel string) (Acceleration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		return *p.known, nil
	}
	now, err := p.circumstances(kernel)
	if err != nil {
		return Acceleration{}, err
	}
	if old, ok := p.recall(); ok && old.stands(now) {
		p.known = &old.Acceleration
		return old.Acceleration, nil
	}
	now.Acceleration = p.probe(ctx, kernel)
	if err := context.Cause(ctx); err != nil {
		return Acceleration{}, fmt.Errorf("probing KVM: %w", err)
	}
	p.known = &now.Acceleration
	if err := p.remember(now); err != nil {
		p.log.Warn("the probe will be repeated", "error", err)
	}
	return now.Acceleration, nil
}

// answer is what acceleration found when it was last asked, by whichever
// process; the zero value when it never was.
func (p *prober) answer() Acceleration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		return *p.known
	}
	old, _ := p.recall()
	return old.Acceleration
}

func (p *prober) circumstances(kernel string) (remembered, error) {
	self, err := process.Identify(os.Getpid())
	if err != nil {
		return remembered{}, err
	}
	path, err := exec.LookPath(p.binary)
	if err != nil {
		return remembered{}, fmt.Errorf("finding QEMU: %w", err)
	}
	r := remembered{BootID: self.BootID, At: time.Now()}
	for _, file := range []struct {
		path string
		time *time.Time
	}{{kernel, &r.Kernel}, {path, &r.Binary}} {
		info, err := os.Stat(file.path)
		if err != nil {
			return remembered{}, fmt.Errorf("probing KVM: %w", err)
		}
		*file.time = info.ModTime()
	}
	return r, nil
}

func (p *prober) recall() (remembered, bool) {
	var r remembered
	text, err := os.ReadFile(p.memory)
	if err != nil || json.Unmarshal(text, &r) != nil {
		return remembered{}, false
	}
	return r, true
}

func (p *prober) remember(r remembered) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.memory), 0o700); err != nil {
		return err
	}
	if err := renameio.WriteFile(p.memory, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("keeping the result of the KVM probe: %w", err)
	}
	return nil
}

// probe boots the kernel with KVM.
func (p *prober) probe(ctx context.Context, kernel string) Acceleration {
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return Acceleration{TCG, fmt.Sprintf("no usable KVM: %v", err)}
	}
	_ = device.Close()

	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	arguments := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", machineType() + ",accel=kvm", "-cpu", "host", "-m", "256",
		"-kernel", kernel, "-append", "console=" + consoleDevice() + " panic=-1",
		"-serial", "stdio",
	}
	// A QEMU that hangs on a broken KVM must not outlive us: it dies with the
	// thread that started it, which therefore is this one until it has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, p.binary, arguments...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	return judge(out, err, ctx.Err())
}

// judge takes KVM only when the kernel came as far as its panic, and QEMU then
// ended by itself.
func judge(out []byte, err, late error) Acceleration {
	switch {
	case late != nil:
		return Acceleration{TCG, fmt.Sprintf("KVM is there, but a kernel did not boot on it within %s", probeLimit)}
	case err != nil:
		return Acceleration{TCG, fmt.Sprintf("KVM is there, but QEMU failed on it: %v: %s", err, lastLine(out))}
	case !bytes.Contains(out, []byte("Kernel panic")):
		return Acceleration{TCG, "KVM is there, but a kernel did not boot on it: " + lastLine(out)}
	}
	return Acceleration{KVM, "a probe boot works"}
}

func lastLine(out []byte) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return string(bytes.TrimSpace(lines[len(lines)-1]))
}
