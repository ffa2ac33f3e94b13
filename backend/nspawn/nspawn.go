//go:build linux

package nspawn

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// Options are what the backend needs from its surroundings.
type Options struct {
	// Pool is the pool's name. WorkersDir holds the directories of its workers; its
	// path tells containers of this pool from others.
	Pool, WorkersDir string
	// ImagesDir holds the golden images.
	ImagesDir string
	// Source is the kind of source that images are built from.
	Source string
	// Pull brings the golden image that a recipe names by a reference to a registry.
	Pull func(context.Context, image.Recipe, image.Progress) (image.Golden, error)
	// InUse says which golden images anything was made from, by their digests.
	InUse func() (map[string]bool, error)
	// PrivateUsers asks for user namespaces.
	PrivateUsers bool
	// Warm are what a container runs before it is ready.
	Warm []image.Commands
	// Nested gives containers the host's KVM.
	Nested bool
	// Network gives an image build a lease of its own. Its leases are for
	// containers.
	Network network.Network
}

// Backend runs workers as containers.
type Backend struct {
	options Options
	version func() (int, error)
	// tag finds our supervisors, and the shells that become one, by --directory.
	tag   process.Tag
	units process.Units

	mu       sync.Mutex
	machines map[string]*machine
}

var (
	_ backend.Backend = (*Backend)(nil)
	_ backend.Console = (*Backend)(nil)

	_ backend.Accountant = (*Backend)(nil)
	_ backend.Witness    = (*Backend)(nil)
)

// New returns the backend of one pool. It touches nothing.
func New(options Options) *Backend {
	return &Backend{
		options: options, version: sync.OnceValues(nspawnVersion),
		tag:      process.Tag{Option: directoryOption, WorkersDir: options.WorkersDir, Suffix: "/" + rootDir},
		units:    process.Units{WorkersDir: options.WorkersDir},
		machines: map[string]*machine{},
	}
}

// Form is the form of golden images that containers are made from on this host:
// image.ShiftedTree if user namespaces are wanted and the kernel has them.
func Form(privateUsers bool) string {
	if privateUsers && userNamespaces() == nil {
		return image.ShiftedTree
	}
	return image.Tree
}

// Start makes a copy of the golden tree that has the worker's identity, and boots
// it.
func (b *Backend) Start(ctx context.Context, golden image.Golden, spec backend.Spec) (backend.Machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("starting the container of %s: %w", spec.ID, err)
	}
	if err := cloneTree(ctx, golden, spec.Dir); err != nil {
		return nil, fmt.Errorf("cloning the golden tree for %s: %w", spec.ID, err)
	}
	own := warmFiles(b.options.Warm)
	if err := writeIdentity(filepath.Join(spec.Dir, identityDir), golden, spec.Identity, own); err != nil {
		return nil, fmt.Errorf("giving %s its identity: %w", spec.ID, err)
	}
	kvm, err := b.shareKVM(spec.Dir)
	if err != nil {
		return nil, fmt.Errorf("giving %s KVM: %w", spec.ID, err)
	}
	m, err := b.launch(container{
		id: spec.ID, namespace: spec.Lease.Namespace, size: spec.Size, form: golden.Recipe.Form, kvm: kvm,
		mounts: mounts(golden, spec.Dir), console: b.ConsolePath(spec.Dir), givesWay: spec.GivesWay,
	})
	if err != nil {
		return nil, err
	}
	m.address = spec.Lease.SSH()
	b.mu.Lock()
	b.machines[m.id] = m
	b.mu.Unlock()
	if err := m.awaitSSH(ctx); err != nil {
		return nil, bootlog.WithConsole(err, b.ConsolePath(spec.Dir))
	}
	return m, nil
}

// Find looks at the host's processes and control groups, since the processes of a
// container whose supervisor was killed live on in its group.
func (b *Backend) Find(context.Context) ([]backend.Machine, error) {
	supervisors, err := b.tag.Find("")
	if err != nil {
		return nil, err
	}
	groups, err := b.units.Find()
	if err != nil {
		return nil, err
	}
	found := map[string]*machine{}
	for _, id := range groups {
		found[id] = &machine{id: id}
	}
	for _, s := range supervisors {
		found[s.Worker] = &machine{id: s.Worker, process: s.Process}
	}
	machines := make([]backend.Machine, 0, len(found))
	for _, id := range slices.Sorted(maps.Keys(found)) {
		machines = append(machines, found[id])
	}
	return machines, nil
}

// Destroy ends the worker's container, whoever started it, and removes its control
// group. Its mounts, its loop device and its network link end with its namespaces.
func (b *Backend) Destroy(ctx context.Context, id string) error {
	b.mu.Lock()
	known := b.machines[id]
	delete(b.machines, id)
	b.mu.Unlock()
	if !workerid.Valid(id) { // no worker has such a directory
		return nil
	}
	// The supervisor is killed first: after its end nothing enters the group.
	supervisors, err := b.supervisors(known, id)
	if err != nil {
		return err
	}
	dir := filepath.Dir(b.directory(id))
	for _, supervisor := range supervisors {
		_ = dropWrites(supervisor, dir) // it has ended, or has not mounted the disk: nothing to save time with
		if err := supervisor.Kill(ctx); err != nil {
			return err
		}
	}
	if err := b.units.End(ctx, id); err != nil {
		return err
	}
	return awaitDetached(ctx, filepath.Join(dir, diskFile))
}

// supervisors are the processes that lead to a worker's container: that of a machine
// that we know, or those that are found.
func (b *Backend) supervisors(known *machine, id string) (all []*process.Process, err error) {
	if known != nil {
		return []*process.Process{known.process}, nil
	}
	found, err := b.tag.Find(id)
	for _, one := range found {
		all = append(all, one.Process)
	}
	return all, err
}

// Usage is what the container's control group has taken.
func (b *Backend) Usage(id string) (backend.Usage, error) { return b.units.Usage(id) }

// Job looks at the container's processes from outside: nothing in it is asked.
func (b *Backend) Job(_ context.Context, id string) (guest.Job, bool, error) {
	pids, err := b.units.Processes(id)
	if err != nil {
		return guest.Job{}, false, err
	}
	job, seen := guest.FindJob("/proc", pids)
	return job, seen, nil
}

// ConsolePath is the boot log of a worker.
func (b *Backend) ConsolePath(dir string) string { return filepath.Join(dir, consoleFile) }
