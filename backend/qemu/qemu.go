//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"

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
	// Fork says whether workers are forked from a template. TemplatesDir holds
	// the pool's; ShareMemory lets forks share its pages until they write.
	Fork, ShareMemory bool
	TemplatesDir      string
	// Binary is QEMU's; empty means the one for this host's processor.
	Binary string
	Log    *slog.Logger
}

// Backend runs workers as QEMU machines.
type Backend struct {
	options Options
	prober  prober
	say     sync.Once

	// failures counts the forks that failed in a row.
	failures atomic.Int32

	mu       sync.Mutex
	machines map[string]*machine
}

var (
	_ backend.Backend     = (*Backend)(nil)
	_ backend.Forker      = (*Backend)(nil)
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
		prober:   prober{binary: options.Binary, memory: filepath.Join(options.StateDir, "acceleration.json"), log: options.Log},
		machines: map[string]*machine{},
	}
}

// Start forks a worker from the template; where there is none, or it is broken,
// it boots a clone.
func (b *Backend) Start(ctx context.Context, golden image.Golden, spec backend.Spec) (backend.Machine, error) {
	acceleration, err := b.acceleration(ctx, golden.Kernel())
	if err != nil {
		return nil, err
	}
	if t, ok := b.template(golden, spec.Size, acceleration); ok {
		m, err := b.fork(ctx, t, golden, spec)
		if err == nil {
			b.failures.Store(0)
			return m, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		b.options.Log.Warn("booting a clone in place of a fork", "worker", spec.ID, "error", errors.Join(err, b.blame(t)))
	}
	return b.clone(ctx, golden, spec, acceleration)
}

// blame counts a fork that failed, and takes its template out of use when it
// is not the first.
func (b *Backend) blame(t template) error {
	if b.failures.Add(1) < forkFailures {
		return nil
	}
	b.failures.Store(0)
	return b.discard(t)
}

// clone clones the golden disk, boots it and gives it the worker's identity.
func (b *Backend) clone(ctx context.Context, golden image.Golden, spec backend.Spec, acceleration Acceleration) (backend.Machine, error) {
	path := filepath.Join(spec.Dir, diskFile)
	method, err := disk.Clone(ctx, golden.Disk(), path)
	if err != nil {
		return nil, fmt.Errorf("cloning the golden disk for %s: %w", spec.ID, err)
	}
	m, err := b.launch(spec.ID, spec.Dir, spec.Lease.Namespace, machineSpec{
		Accel: acceleration.Name, CPUs: spec.CPUs, Memory: spec.Memory,
		Kernel: golden.Kernel(), Initrd: golden.Initrd(), Root: golden.Root,
		Disk: path, Format: method.Format(),
		Console: filepath.Join(spec.Dir, consoleFile),
		Network: true,
	})
	if err != nil {
		return nil, err
	}
	m.address = sshAddress(spec.Lease)
	b.keep(m)
	if err := m.explain(m.boot(ctx, spec)); err != nil {
		return nil, fmt.Errorf("%w%s", err, process.ConsoleTail(b.ConsolePath(spec.Dir)))
	}
	return m, nil
}

// boot waits for the guest's agent, and for its word that it has taken its
// identity.
func (m *machine) boot(ctx context.Context, spec backend.Spec) error {
	ctx, cancel := m.whileRunning(ctx)
	defer cancel()
	agent, err := m.reach(ctx)
	if err != nil {
		return err
	}
	defer agent.Close()
	return m.rekey(ctx, agent, spec.Identity)
}

func (m *machine) rekey(ctx context.Context, agent net.Conn, identity guest.Identity) error {
	return guest.NewClient(agent).Rekey(ctx, identity)
}

// Find looks at the host's processes.
func (b *Backend) Find(context.Context) ([]backend.Machine, error) {
	running, err := b.processes(func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	var machines []backend.Machine
	for _, f := range running {
		child, err := process.Adopt(f.running)
		if errors.Is(err, process.ErrNotRunning) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("adopting the machine of %s: %w", f.id, err)
		}
		machines = append(machines, &machine{id: f.id, dir: filepath.Join(b.options.WorkersDir, f.id), process: child})
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
	running, err := b.processes(func(other string) bool { return other == id })
	if err != nil {
		return err
	}
	var failed []error
	for _, f := range running {
		failed = append(failed, kill(ctx, f.running))
	}
	return errors.Join(failed...)
}

func kill(ctx context.Context, running process.Identity) error {
	child, err := process.Adopt(running)
	if errors.Is(err, process.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	return child.Kill(ctx)
}

// found is a process with a tag of ours. There is one for each worker, unless
// QEMU is started by a script or traced: then there are more.
type found struct {
	id      string
	running process.Identity
}

func (b *Backend) processes(wanted func(id string) bool) ([]found, error) {
	tagged, err := process.Find(func(arguments []string) bool {
		id, ours := b.taggedID(arguments)
		return ours && wanted(id)
	})
	if err != nil {
		return nil, err
	}
	var all []found
	for running, arguments := range tagged {
		id, _ := b.taggedID(arguments)
		all = append(all, found{id, running})
	}
	return all, nil
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
	if kernel == "" {
		return Acceleration{TCG, "there is no kernel to probe KVM with before the first image is built"}, nil
	}
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
