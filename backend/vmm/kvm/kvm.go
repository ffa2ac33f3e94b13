//go:build linux

package kvm

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
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

// Prober finds out which acceleration this host really has. A KVM that
// opens proves nothing: one that is nested or half emulated starts a machine,
// and hangs in the first kernel that is more than a boot loader. So the kernel
// that the workers run is booted once, up to the panic that a missing root
// device brings.
type Prober struct {
	// Binary is the virtual machine monitor, found in PATH.
	Binary string
	// Arguments are the binary's for booting the kernel with KVM and without a
	// root device; the kernel's console goes to the file console.
	Arguments func(kernel, console string) []string
	// EndsByItself says whether the binary ends after the kernel's panic, and
	// must do so without an error.
	EndsByItself bool
	// AnswerFile is the path of a file that keeps the answer until the next boot of the
	// host.
	AnswerFile string
	Log        *slog.Logger

	mu    sync.Mutex
	known *remembered
	// doubting says that a refusal is looked at again.
	doubting bool
}

// remembered is what is kept, with what it depends on.
type remembered struct {
	Acceleration
	BootID string    `json:"boot_id"`
	Kernel time.Time `json:"kernel"`
	Binary time.Time `json:"binary"`
	At     time.Time `json:"at"`
}

// maxAnswer is how many bytes the file of an answer may have.
const maxAnswer = 64 << 10

// refusalStands is how long an answer against KVM is believed: the reason may
// have been a host that was too busy, or be mended by now.
const refusalStands = time.Hour

// stands says whether an old answer still holds now.
func (r remembered) stands(now remembered) bool {
	return r.BootID == now.BootID && r.Kernel.Equal(now.Kernel) && r.Binary.Equal(now.Binary) &&
		!r.isOld(now.At)
}

// isOld says whether it is time to look again.
func (r remembered) isOld(now time.Time) bool { return r.Name != KVM && now.Sub(r.At) >= refusalStands }

// Acceleration probes with the kernel, or answers from memory. A refusal that
// does not stand any more is still the answer while it is looked at again.
func (p *Prober) Acceleration(ctx context.Context, kernel string) (Acceleration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		if p.known.isOld(time.Now()) && !p.doubting {
			p.doubting = true
			go p.doubt(context.WithoutCancel(ctx), kernel)
		}
		return p.known.Acceleration, nil
	}
	now, err := p.circumstances(kernel)
	if err != nil {
		return Acceleration{}, err
	}
	if old, ok := p.recall(); ok && old.stands(now) {
		p.known = &old
		return old.Acceleration, nil
	}
	now.Acceleration = p.probe(ctx, kernel)
	if err := context.Cause(ctx); err != nil {
		return Acceleration{}, fmt.Errorf("probing KVM: %w", err)
	}
	p.learn(now)
	return now.Acceleration, nil
}

// doubt probes again, for those who come later: nobody who starts a worker
// waits for it.
func (p *Prober) doubt(ctx context.Context, kernel string) {
	now, err := p.circumstances(kernel)
	if err == nil {
		now.Acceleration = p.probe(ctx, kernel)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubting = false
	if err != nil { // of a kernel that was removed, say: the next caller has another
		return
	}
	if now.Name == KVM {
		p.Log.Info("machines run with KVM from now on", "before", p.known.Reason)
	}
	p.learn(now)
}

// learn is called with the lock held.
func (p *Prober) learn(now remembered) {
	p.known = &now
	if err := p.remember(now); err != nil {
		p.Log.Warn("the probe will be repeated", "error", err)
	}
}

// Answer is what Acceleration found when it was last asked, by whichever
// process; the zero value when it never was.
func (p *Prober) Answer() Acceleration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		return p.known.Acceleration
	}
	old, _ := p.recall()
	return old.Acceleration
}

func (p *Prober) circumstances(kernel string) (remembered, error) {
	self, err := process.Identify(os.Getpid())
	if err != nil {
		return remembered{}, err
	}
	path, err := programs.FindConfigured(p.Binary)
	if err != nil {
		return remembered{}, fmt.Errorf("probing KVM: %w", err)
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

func (p *Prober) recall() (remembered, bool) {
	var r remembered
	text, err := statefile.Read(p.AnswerFile, maxAnswer)
	if err != nil || json.Unmarshal(text, &r) != nil || r.Name != KVM && r.Name != TCG {
		return remembered{}, false
	}
	return r, true
}

func (p *Prober) remember(r remembered) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.AnswerFile), 0o700); err != nil {
		return err
	}
	if err := renameio.WriteFile(p.AnswerFile, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("keeping the result of the KVM probe: %w", err)
	}
	return nil
}
