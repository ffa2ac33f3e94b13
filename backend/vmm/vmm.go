//go:build linux

package vmm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/user"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/phase"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
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
	// Pull brings the golden image that a recipe names by a reference to a registry.
	Pull func(context.Context, image.Recipe, image.Progress) (image.Golden, error)
	// InUse says which golden images anything was made from, by their digests.
	InUse func() (map[string]bool, error)
	// Network gives the image build a lease of its own.
	Network network.Network
	// Fork says whether workers are forked from a template. TemplatesDir holds
	// the pool's; ShareMemory lets forks share its pages until they write.
	Fork, ShareMemory bool
	TemplatesDir      string
	// Warm are what the guest of a template runs before it is saved, and a clone
	// before it is ready.
	Warm []image.Commands
	// Queues is how many pairs of queues the TAP devices of Network have, which
	// templates depend on.
	Queues int
	// Nested says that guests are to run machines of their own, where the host lets
	// them.
	Nested bool
	// PCI are the addresses of the host's devices that each worker has for its own, so
	// that there is one worker at a time. It is a clone, and never suspended.
	PCI []string
	// ForkLimit bounds a fork up to its new identity; 0 means one minute. It
	// takes well under a second where nothing else runs.
	ForkLimit time.Duration
	Log       *slog.Logger
}

// Backend runs workers as virtual machines.
type Backend struct {
	options   Options
	driver    Driver
	traits    Traits
	tag       process.Tag
	units     process.Units
	users     *user.Book
	prober    kvm.Prober
	templates template.Shelf
	say       sync.Once

	mu       sync.Mutex
	machines map[string]*machine
	stock    map[string]stocked
}

var (
	_ backend.Backend     = (*Backend)(nil)
	_ backend.Forker      = (*Backend)(nil)
	_ backend.Stocker     = (*Backend)(nil)
	_ backend.Suspender   = (*Backend)(nil)
	_ backend.SavedForker = (*Backend)(nil)
	_ backend.Console     = (*Backend)(nil)
	_ backend.Accelerated = (*Backend)(nil)
	_ backend.Metered     = (*Backend)(nil)
	_ backend.Costed      = (*Backend)(nil)
	_ backend.Accountant  = (*Backend)(nil)
	_ backend.Witness     = (*Backend)(nil)
)

// New returns the backend of one pool. It touches nothing.
func New(driver Driver, options Options) *Backend {
	options.ForkLimit = cmp.Or(options.ForkLimit, time.Minute)
	options.Fork = options.Fork && len(options.PCI) == 0
	traits := driver.Traits()
	tag := traits.Tag
	tag.WorkersDir = options.WorkersDir
	return &Backend{
		options: options, driver: driver, traits: traits, tag: tag,
		units: process.Units{WorkersDir: options.WorkersDir},
		users: user.New(filepath.Join(options.StateDir, "users")),
		prober: kvm.Prober{
			Binary: traits.Binary, Arguments: traits.ProbeArguments, EndsByItself: traits.ProbeEnds,
			AnswerFile: filepath.Join(options.StateDir, traits.AnswerFile), Log: options.Log,
		},
		templates: template.Shelf{Dir: options.TemplatesDir, WarmLimit: warmLimit(options.Warm)},
		machines:  map[string]*machine{}, stock: map[string]stocked{},
	}
}

// overhead is what the program that runs a machine takes beside the machine's
// memory, in bytes: most of it is for emulated devices and translated code.
const overhead = 128 << 20

// Cost is what a machine takes that uses all of its memory.
func (b *Backend) Cost(size backend.Size) backend.Size {
	size.Memory += size.Memory/pageTables + overhead
	return size
}

// Start forks a worker from the template; where there is none, or it is broken,
// it boots a clone.
func (b *Backend) Start(ctx context.Context, golden image.Golden, spec backend.Spec) (backend.Machine, error) {
	accel, err := b.acceleration(ctx, golden.Kernel())
	if err != nil {
		return nil, err
	}
	if t, ok := b.template(golden, spec.Size, accel); ok {
		m, err := b.fork(ctx, t, golden, spec)
		if err == nil {
			b.templates.Worked(t)
			return m, nil
		}
		// None of this is the template's fault, and a clone would take more or the same place.
		if ctx.Err() != nil || diskspace.IsFull(err) || errors.Is(err, errNotUndone) {
			return nil, err
		}
		err = errors.Join(err, b.templates.Failed(t))
		b.options.Log.Warn("booting a clone in place of a fork", "worker", spec.ID, "error", err)
	}
	if _, err := b.fromStock(ctx, template.Template{}, spec.ID); err != nil { // of a template that is gone
		return nil, err
	}
	return b.clone(ctx, golden, spec, accel)
}

// clone clones the golden disk, boots it and gives it the worker's identity. Then it
// does what a fork's template has done, so that jobs find the same in both.
func (b *Backend) clone(
	ctx context.Context, golden image.Golden, spec backend.Spec, accel string,
) (backend.Machine, error) {
	clone := Spec{
		Accel: accel, CPUs: spec.CPUs, Memory: spec.Memory,
		Layout: b.layout(spec.Size, accel, spec.Lease.Queues),
		Kernel: golden.Kernel(), Initrd: golden.Initrd(), Root: golden.Root,
		Backing: golden.Dir, Network: true, PCI: b.options.PCI,
	}.in(spec.Dir)
	release, err := b.borrow(ctx)
	if err != nil {
		return nil, fmt.Errorf("giving %s devices of the host: %w", spec.ID, err)
	}
	method, err := disk.Clone(ctx, golden.Disk(), clone.Disk)
	if err != nil {
		release()
		return nil, fmt.Errorf("cloning the golden disk for %s: %w", spec.ID, err)
	}
	clone.Format = method.Format()
	phase.Ended(ctx, phase.Disk)
	m, err := b.launch(ctx, placeOf(spec), clone)
	if err != nil {
		release()
		return nil, err
	}
	go func() { <-m.Done(); release() }()
	if spec.GivesWay {
		b.share(m, process.LowShare)
	}
	phase.Ended(ctx, phase.Process)
	err = m.boot(ctx, func(ctx context.Context, agent *guest.Client) error {
		if err := errors.Join(openNested(ctx, clone, agent), agent.Rekey(ctx, spec.Identity)); err != nil {
			return err
		}
		return b.warmUp(ctx, agent, func(string, string) {})
	})
	if err != nil {
		return nil, bootlog.WithConsole(err, clone.Console)
	}
	m.inUse.Store(true)
	phase.Ended(ctx, phase.Identity)
	return m, nil
}

// Find looks at the host's processes and control groups, and at who has a user: a
// process that was killed leaves the other two.
func (b *Backend) Find(context.Context) ([]backend.Machine, error) {
	running, err := b.tag.Find("")
	if err != nil {
		return nil, err
	}
	tenants, err := b.tenants()
	if err != nil {
		return nil, err
	}
	var machines []backend.Machine
	for _, found := range running {
		tenants = slices.DeleteFunc(tenants, func(id string) bool { return id == found.Worker })
		machines = append(machines, b.found(found.Worker, found.Process))
	}
	for _, id := range tenants {
		machines = append(machines, b.found(id, nil))
	}
	return machines, nil
}

// found is a machine of which only the process is known, if it has one.
func (b *Backend) found(id string, running *process.Process) *machine {
	dir := filepath.Join(b.options.WorkersDir, id)
	return &machine{id: id, dir: dir, how: backend.Clone, traits: b.traits, process: running}
}

// Destroy ends the worker's machine, whether or not this process started it, with
// all that is left in its control group, and gives its user back.
func (b *Backend) Destroy(ctx context.Context, id string) error {
	if !workerid.Valid(id) { // no machine has such a group or user
		return nil
	}
	var err error
	if known := b.forget(id); known != nil {
		err = known.stop(ctx)
	} else {
		err = b.tag.Kill(ctx, id)
	}
	if err != nil {
		return err
	}
	return b.vacate(ctx, id)
}

// launch starts the program of a machine, which is ours from then on.
func (b *Backend) launch(ctx context.Context, at stage.Place, spec Spec) (*machine, error) {
	owner, err := b.users.Take(ctx, b.owner(at.ID))
	if err != nil {
		return nil, err
	}
	place := Place{
		ID: at.ID, Dir: at.Dir, Namespace: at.Lease.Namespace, Tag: b.tag.Value(at.ID), User: owner, Units: b.units,
	}
	monitor, err := b.driver.Launch(place, spec)
	if err != nil {
		return nil, errors.Join(err, b.vacate(ctx, at.ID))
	}
	m := &machine{
		id: at.ID, dir: at.Dir, address: at.Lease.SSH(), how: backend.Clone, spec: spec,
		traits: b.traits, process: monitor.Process(), monitor: monitor, ended: make(chan struct{}), units: b.units,
	}
	go m.watch(b.options.Log)
	b.keep(m)
	logs := []string{spec.Console}
	for _, name := range b.traits.Logs {
		logs = append(logs, filepath.Join(at.Dir, name))
	}
	go bootlog.Bound(m.Done(), logs...)
	return m, nil
}

// placeOf is the place that a worker has.
func placeOf(spec backend.Spec) stage.Place {
	return stage.Place{ID: spec.ID, Dir: spec.Dir, Lease: spec.Lease}
}

// stage is where machines run that are not workers.
func (b *Backend) stage() stage.Stage {
	o := b.options
	return stage.Stage{Pool: o.Pool, WorkersDir: o.WorkersDir, Network: o.Network, Destroy: b.Destroy}
}

// forget returns the machine that this process knows of a worker, if any, and
// drops it.
func (b *Backend) forget(id string) *machine {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.machines[id]
	delete(b.machines, id)
	delete(b.stock, id)
	return known
}

// known is the machine that this process knows of a worker, if any.
func (b *Backend) known(id string) *machine {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.machines[id]
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

// acceleration is what machines run with, and says so once in the log. It fails
// where they need KVM and would hang.
func (b *Backend) acceleration(ctx context.Context, kernel string) (name string, err error) {
	switch { // before the first image is built there may be no kernel to probe KVM with
	case kernel == "" && b.traits.Emulates:
		return kvm.TCG, nil
	case kernel == "":
		return kvm.KVM, nil
	}
	known, err := b.prober.Acceleration(ctx, kernel)
	if err != nil {
		return "", err
	}
	if known.Name != kvm.KVM && !b.traits.Emulates {
		return "", fmt.Errorf("machines need KVM here: %s", known.Reason)
	}
	b.say.Do(func() {
		level, message := slog.LevelInfo, "machines run with KVM"
		if known.Name == kvm.TCG {
			level, message = slog.LevelWarn, "machines run by emulation, which is several times slower than KVM"
		}
		b.options.Log.Log(ctx, level, message, "reason", known.Reason)
	})
	return known.Name, nil
}
