//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/phase"
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
	options   Options
	prober    kvm.Prober
	templates template.Shelf
	// tag is the -name of our machines.
	tag process.Tag
	say sync.Once
	// settle and forkLimit are template.Settle and the constant of that name but
	// in tests.
	settle    string
	forkLimit time.Duration

	mu       sync.Mutex
	machines map[string]*machine
	stock    map[string]stocked
}

var (
	_ backend.Backend     = (*Backend)(nil)
	_ backend.Forker      = (*Backend)(nil)
	_ backend.Stocker     = (*Backend)(nil)
	_ backend.Suspender   = (*Backend)(nil)
	_ backend.Console     = (*Backend)(nil)
	_ backend.Accelerated = (*Backend)(nil)
	_ backend.Metered     = (*Backend)(nil)
)

// New returns the backend of one pool. It touches nothing.
func New(options Options) *Backend {
	if options.Binary == "" {
		options.Binary = binaryName()
	}
	return &Backend{
		options: options,
		prober: kvm.Prober{
			Binary: options.Binary, Arguments: probeArguments, EndsByItself: true,
			AnswerFile: filepath.Join(options.StateDir, "acceleration.json"), Log: options.Log,
		},
		templates: template.Shelf{Dir: options.TemplatesDir},
		tag:       process.Tag{Option: "-name", Prefix: "mayfly:", WorkersDir: options.WorkersDir},
		machines:  map[string]*machine{}, stock: map[string]stocked{},
		settle: template.Settle, forkLimit: forkLimit,
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
			b.templates.Worked()
			return m, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		b.options.Log.Warn("booting a clone in place of a fork", "worker", spec.ID, "error", errors.Join(err, b.templates.Failed(t)))
	}
	if _, err := b.fromStock(ctx, template.Template{}, spec.ID); err != nil { // of a template that is gone
		return nil, err
	}
	return b.clone(ctx, golden, spec, acceleration)
}

// clone clones the golden disk, boots it and gives it the worker's identity.
func (b *Backend) clone(ctx context.Context, golden image.Golden, spec backend.Spec, acceleration kvm.Acceleration) (backend.Machine, error) {
	path := filepath.Join(spec.Dir, diskFile)
	method, err := disk.Clone(ctx, golden.Disk(), path)
	if err != nil {
		return nil, fmt.Errorf("cloning the golden disk for %s: %w", spec.ID, err)
	}
	phase.Ended(ctx, phase.Disk)
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
	phase.Ended(ctx, phase.Process)
	m.address = spec.Lease.SSH()
	b.keep(m)
	if err := m.explain(m.boot(ctx, spec)); err != nil {
		return nil, fmt.Errorf("%w%s", err, bootlog.Tail(b.ConsolePath(spec.Dir)))
	}
	phase.Ended(ctx, phase.Identity)
	return m, nil
}

// boot waits for the guest's agent, and for its word that it has taken its
// identity.
func (m *machine) boot(ctx context.Context, spec backend.Spec) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	agent, err := m.reach(ctx)
	if err != nil {
		return err
	}
	defer agent.Close()
	return guest.NewClient(agent).Rekey(ctx, spec.Identity)
}

// Find looks at the host's processes.
func (b *Backend) Find(context.Context) ([]backend.Machine, error) {
	running, err := b.tag.Find("")
	if err != nil {
		return nil, err
	}
	machines := make([]backend.Machine, len(running))
	for i, found := range running {
		machines[i] = &machine{id: found.Worker, dir: filepath.Join(b.options.WorkersDir, found.Worker), process: found.Process}
	}
	return machines, nil
}

// Destroy kills the worker's QEMU, whether or not this process started it.
func (b *Backend) Destroy(ctx context.Context, id string) error {
	if known := b.forget(id); known != nil {
		return known.process.Kill(ctx)
	}
	return b.tag.Kill(ctx, id)
}

// forget returns the machine that this process has of a worker, if any, and
// has it no more.
func (b *Backend) forget(id string) *machine {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.machines[id]
	delete(b.machines, id)
	if s, ok := b.stock[id]; ok {
		_ = s.machine.agent.Close()
		delete(b.stock, id)
	}
	return known
}

func (b *Backend) keep(m *machine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.machines[m.id] = m
}

// Memory looks at the host's processes. Pages of the template that no fork has
// written to are in the PSS of each fork by its share, and in Private only as
// long as there is a single fork.
func (b *Backend) Memory(context.Context) (map[string]backend.Memory, error) { return b.tag.Memory() }

// ConsolePath is the boot log of a worker.
func (b *Backend) ConsolePath(dir string) string { return filepath.Join(dir, consoleFile) }

// Acceleration is empty until a first machine, or one of an earlier process,
// has asked for it.
func (b *Backend) Acceleration() (name, reason string) {
	known := b.prober.Answer()
	return known.Name, known.Reason
}

// acceleration says once in the log what it is.
func (b *Backend) acceleration(ctx context.Context, kernel string) (kvm.Acceleration, error) {
	if kernel == "" {
		return kvm.Acceleration{Name: kvm.TCG, Reason: "there is no kernel to probe KVM with before the first image is built"}, nil
	}
	known, err := b.prober.Acceleration(ctx, kernel)
	if err != nil {
		return kvm.Acceleration{}, err
	}
	b.say.Do(func() {
		if known.Name == kvm.TCG {
			b.options.Log.Warn("machines run by emulation, which is several times slower than KVM", "reason", known.Reason)
			return
		}
		b.options.Log.Info("machines run with KVM", "reason", known.Reason)
	})
	return known, nil
}
