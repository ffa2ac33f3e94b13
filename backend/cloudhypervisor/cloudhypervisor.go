//go:build linux

package cloudhypervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// defaultBinary is looked for in PATH.
const defaultBinary = "cloud-hypervisor"

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
	// Limits hold for every worker.
	Limits Limits
	// Binary is Cloud Hypervisor's; empty means defaultBinary.
	Binary string
	Log    *slog.Logger
}

// Backend runs workers as Cloud Hypervisor machines.
type Backend struct {
	options   Options
	prober    kvm.Prober
	templates template.Shelf
	tag       process.Tag

	mu       sync.Mutex
	machines map[string]*machine
}

var (
	_ backend.Backend     = (*Backend)(nil)
	_ backend.Forker      = (*Backend)(nil)
	_ backend.Suspender   = (*Backend)(nil)
	_ backend.Console     = (*Backend)(nil)
	_ backend.Accelerated = (*Backend)(nil)
	_ backend.Metered     = (*Backend)(nil)
)

// New returns the backend of one pool. It touches nothing.
func New(options Options) *Backend {
	if options.Binary == "" {
		options.Binary = defaultBinary
	}
	return &Backend{
		options: options,
		prober: kvm.Prober{
			Binary: options.Binary, Arguments: probeArguments,
			AnswerFile: filepath.Join(options.StateDir, "acceleration-cloudhypervisor.json"), Log: options.Log,
		},
		templates: template.Shelf{Dir: options.TemplatesDir},
		tag:       process.Tag{Option: "--log-file", WorkersDir: options.WorkersDir, Suffix: "/" + logFile},
		machines:  map[string]*machine{},
	}
}

// Start forks a worker from the template; where there is none, or it is broken,
// it boots a clone.
func (b *Backend) Start(ctx context.Context, golden image.Golden, spec backend.Spec) (backend.Machine, error) {
	if err := b.needKVM(ctx, golden.Kernel()); err != nil {
		return nil, err
	}
	if t, ok := b.template(golden, spec.Size); ok {
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
	return b.clone(ctx, golden, spec)
}

// clone clones the golden disk, boots it and gives it the worker's identity.
func (b *Backend) clone(ctx context.Context, golden image.Golden, spec backend.Spec) (backend.Machine, error) {
	path := filepath.Join(spec.Dir, diskFile)
	method, err := disk.Clone(ctx, golden.Disk(), path)
	if err != nil {
		return nil, fmt.Errorf("cloning the golden disk for %s: %w", spec.ID, err)
	}
	console := b.ConsolePath(spec.Dir)
	m, err := b.launch(spec.ID, spec.Dir, spec.Lease.Namespace, console)
	if err != nil {
		return nil, err
	}
	m.address = spec.Lease.SSH()
	b.keep(m)
	config := machineSpec{
		CPUs: spec.CPUs, Memory: spec.Memory,
		Kernel: golden.Kernel(), Initrd: golden.Initrd(), Root: golden.Root,
		Disk: path, Format: method.Format(), Console: console,
		Vsock: vsockPath(spec.Dir), Saved: savedPath(spec.Dir),
		Readable: readable(golden.Dir), Limits: b.options.Limits,
	}
	if err := m.explain(m.boot(ctx, config, spec)); err != nil {
		return nil, fmt.Errorf("%w%s", err, bootlog.Tail(console))
	}
	return m, nil
}

func (m *machine) boot(ctx context.Context, config machineSpec, spec backend.Spec) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	if err := m.start(ctx, config); err != nil {
		return err
	}
	return m.tell(ctx, rekey(spec.Identity))
}

// start makes the process a machine that runs.
func (m *machine) start(ctx context.Context, config machineSpec) error {
	if err := m.api.Create(ctx, config.config()); err != nil {
		return err
	}
	return m.api.Boot(ctx)
}

// Find looks at the host's processes.
func (b *Backend) Find(context.Context) ([]backend.Machine, error) {
	running, err := b.tag.Find("")
	if err != nil {
		return nil, err
	}
	machines := make([]backend.Machine, len(running))
	for i, found := range running {
		machines[i] = &machine{
			id: found.Worker, dir: filepath.Join(b.options.WorkersDir, found.Worker), process: found.Process, how: backend.Clone,
		}
	}
	return machines, nil
}

// Destroy ends the worker's machine, whether or not this process started it.
func (b *Backend) Destroy(ctx context.Context, id string) error {
	if known := b.forget(id); known != nil {
		return known.stop(ctx)
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
	return known
}

func (b *Backend) keep(m *machine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.machines[m.id] = m
}

// Memory looks at the host's processes.
func (b *Backend) Memory(context.Context) (map[string]backend.Memory, error) { return b.tag.Memory() }

// ConsolePath is the boot log of a worker.
func (b *Backend) ConsolePath(dir string) string { return filepath.Join(dir, consoleFile) }

// Acceleration is empty until a first machine, or one of an earlier process,
// has asked for it.
func (b *Backend) Acceleration() (name, reason string) {
	known := b.prober.Answer()
	return known.Name, known.Reason
}

// needKVM fails where machines would hang.
func (b *Backend) needKVM(ctx context.Context, kernel string) error {
	if kernel == "" {
		return nil // nothing to try before the first image is there
	}
	found, err := b.prober.Acceleration(ctx, kernel)
	if err != nil {
		return err
	}
	if found.Name != kvm.KVM {
		return fmt.Errorf("machines need KVM here: %s", found.Reason)
	}
	return nil
}
