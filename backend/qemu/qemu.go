//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Options are what the backend needs from its surroundings.
type Options struct {
	// Pool is the pool's name. WorkersDir holds the directories of its workers;
	// by its path machines of this pool are told from others.
	Pool, WorkersDir string
	// ImagesDir holds the golden images, StateDir what all pools share.
	ImagesDir, StateDir string
	// Source is the kind of source that images are built from: it decides
	// which programs the host must have.
	Source string
	// Network gives the image build a lease of its own.
	Network network.Network
	// Binary is QEMU's; empty means the one for this host's processor.
	Binary string
	Log    *slog.Logger
}

// Backend runs workers as QEMU machines.
type Backend struct {
	options Options
	prober  prober
	say     sync.Once

	mu       sync.Mutex
	machines map[string]*machine
}

var (
	_ backend.Backend     = (*Backend)(nil)
	_ backend.Console     = (*Backend)(nil)
	_ backend.Accelerated = (*Backend)(nil)
)

// New returns the backend of one pool. It touches nothing.
func New(options Options) *Backend {
	if options.Binary == "" {
		options.Binary = binaryName()
	}
	return &Backend{
		options:  options,
		prober:   prober{binary: options.Binary, memory: filepath.Join(options.StateDir, "acceleration.json")},
		machines: map[string]*machine{},
	}
}

// Start clones the golden disk, boots it and gives it the worker's identity.
func (b *Backend) Start(ctx context.Context, golden image.Golden, spec backend.Spec) (backend.Machine, error) {
	acceleration, err := b.acceleration(ctx, golden.Kernel())
	if err != nil {
		return nil, err
	}
	clone := filepath.Join(spec.Dir, image.DiskFile)
	method, err := disk.Clone(ctx, golden.Disk(), clone)
	if err != nil {
		return nil, fmt.Errorf("cloning the golden disk for %s: %w", spec.ID, err)
	}
	m, err := b.launch(spec.ID, spec.Dir, spec.Lease.Namespace, machineSpec{
		Accel: acceleration.Name, CPUs: spec.CPUs, Memory: spec.Memory,
		Kernel: golden.Kernel(), Initrd: golden.Initrd(), Root: golden.Root,
		Disk: clone, Format: string(method.Format()),
		Console: filepath.Join(spec.Dir, consoleFile),
		Network: true,
	})
	if err != nil {
		return nil, err
	}
	m.address = sshAddress(spec.Lease)
	b.keep(m)
	if err := m.explain(m.rekey(ctx, spec)); err != nil {
		return nil, errors.Join(err, m.process.Kill(context.WithoutCancel(ctx)))
	}
	return m, nil
}

// rekey waits for the guest's agent, and for its word that it has taken its
// identity.
func (m *machine) rekey(ctx context.Context, spec backend.Spec) error {
	ctx, cancel := m.whileRunning(ctx)
	defer cancel()
	conn, err := m.reach(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return guest.NewClient(conn).Rekey(ctx, spec.Identity)
}

// Find looks at the host's processes.
func (b *Backend) Find(context.Context) ([]backend.Machine, error) {
	found, err := b.processes(func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	var machines []backend.Machine
	for id, running := range found {
		child, err := process.Adopt(running)
		if errors.Is(err, process.ErrNotRunning) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("adopting the machine of %s: %w", id, err)
		}
		machines = append(machines, &machine{id: id, dir: filepath.Join(b.options.WorkersDir, id), process: child})
	}
	return machines, nil
}

// Destroy kills the worker's QEMU, whether or not this process started it.
func (b *Backend) Destroy(ctx context.Context, id string) error {
	b.mu.Lock()
	known := b.machines[id]
	delete(b.machines, id)
	b.mu.Unlock()
	if known != nil {
		return known.process.Kill(ctx)
	}
	found, err := b.processes(func(other string) bool { return other == id })
	if err != nil {
		return err
	}
	for _, running := range found {
		child, err := process.Adopt(running)
		if errors.Is(err, process.ErrNotRunning) {
			continue
		}
		if err != nil {
			return err
		}
		if err := child.Kill(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *Backend) processes(wanted func(id string) bool) (map[string]process.Identity, error) {
	found, err := process.Find(func(arguments []string) bool {
		id, ours := b.taggedID(arguments)
		return ours && wanted(id)
	})
	if err != nil {
		return nil, err
	}
	byID := map[string]process.Identity{}
	for running, arguments := range found {
		id, _ := b.taggedID(arguments)
		byID[id] = running
	}
	return byID, nil
}

func (b *Backend) keep(m *machine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.machines[m.id] = m
}

// ConsolePath is the boot log of a worker.
func (b *Backend) ConsolePath(dir string) string { return filepath.Join(dir, consoleFile) }

// Acceleration is empty until a first machine, or one of an earlier process,
// has asked for it.
func (b *Backend) Acceleration() (name, reason string) {
	known := b.prober.answer()
	return known.Name, known.Reason
}

// acceleration says once in the log what it is.
func (b *Backend) acceleration(ctx context.Context, kernel string) (Acceleration, error) {
	known, err := b.prober.acceleration(ctx, kernel)
	if err != nil {
		return Acceleration{}, err
	}
	b.say.Do(func() {
		if known.Name == TCG {
			b.options.Log.Warn("machines run by emulation, which is several times slower than KVM", "reason", known.Reason)
			return
		}
		b.options.Log.Info("machines run with KVM", "reason", known.Reason)
	})
	return known, nil
}
