package tart

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// macOS is what Tart calls the system of such a guest, as Go does.
const macOS = "darwin"

// Options are what the backend needs from its surroundings.
type Options struct {
	foreigntool.Options
	// Home is TART_HOME, short enough for the sockets below it.
	Home string
	// MaxWorkers is the most workers of the pool; 0 is no such limit.
	MaxWorkers int

	Registry Registry
	Settings Settings
	// Mounts are mounted in each worker before it is handed out.
	Mounts []remote.Mount
	// AutoCPU and AutoMemory give each worker its share of the host.
	AutoCPU, AutoMemory bool
	// RandomSerial gives each macOS worker a serial number of its own.
	RandomSerial bool
	// Resolver is how Tart finds addresses: dhcp, arp or agent.
	Resolver string
	// Suspendable saves the golden image with its memory: its workers resume,
	// one at a time.
	Suspendable bool
}

// Backend runs workers as Tart's machines.
type Backend struct {
	options Options
	tool    tool
	images  foreigntool.Images[imageNote]

	mu       sync.Mutex
	machines map[string]*machine // that this process started
}

var _ backend.Backend = (*Backend)(nil)

// New returns the backend of one pool. It touches nothing.
func New(options Options) *Backend {
	b := &Backend{options: options, tool: tool{findBinary(), options.Home}, machines: map[string]*machine{}}
	b.images = foreigntool.Images[imageNote]{
		Options: options.Options, Tool: b.tool, NoteFile: "tart.json", Destroy: b.Destroy,
	}
	return b
}

// Start clones the golden machine, runs the clone and gives it its identity.
func (b *Backend) Start(ctx context.Context, golden image.Golden, spec backend.Spec) (backend.Machine, error) {
	note, err := b.images.Open(ctx, golden)
	if err != nil {
		return nil, err
	}
	resumed := ""
	if note.Suspended {
		resumed = golden.Digest
	}
	release, err := b.slots(ctx, note.OS, resumed)
	if err != nil {
		return nil, err
	}
	if err := b.clone(ctx, foreigntool.GoldenName(golden.Digest), spec, note); err != nil {
		release()
		return nil, err
	}
	m, err := b.launch(spec.ID, spec.Dir, runArguments(spec.ID, b.options.Settings, note.Suspended), release)
	if err != nil {
		return nil, err
	}
	return m, foreigntool.Introduce(ctx, m, b.locate(spec.ID), note.Note, spec.Identity, b.options.Mounts...)
}

// clone makes a worker's machine. It refuses a name that is taken, since Tart
// replaces that machine without a warning. The hardware of a suspended machine
// stays as it is: with other hardware it does not resume.
func (b *Backend) clone(ctx context.Context, golden string, spec backend.Spec, note imageNote) error {
	if b.tool.exists(spec.ID) {
		return fmt.Errorf("machine %s exists already", spec.ID)
	}
	if _, err := b.tool.do(ctx, nil, cloneArguments(golden, spec.ID, false, b.options.Registry)...); err != nil {
		return err
	}
	if note.Suspended {
		return nil
	}
	size, err := b.size(spec.Size)
	if err != nil {
		return err
	}
	_, err = b.tool.do(ctx, nil, setArguments(spec.ID, hardware{
		CPUs: size.CPUs, Memory: size.Memory, Serial: b.options.RandomSerial && note.OS == macOS,
	})...)
	return err
}

// ipPause is the time between two questions for an address: each is a process.
const ipPause = 300 * time.Millisecond

// locate asks Tart for a machine's address.
func (b *Backend) locate(name string) remote.Locate {
	return func(ctx context.Context) (netip.AddrPort, error) {
		text, err := b.tool.do(ctx, nil, ipArguments(name, b.options.Resolver)...)
		if err != nil {
			select {
			case <-time.After(ipPause):
			case <-ctx.Done():
			}
			return netip.AddrPort{}, err
		}
		address, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("tart ip %s: %w", name, err)
		}
		return netip.AddrPortFrom(address, network.SSHPort), nil
	}
}

// Destroy ends and deletes a worker's machine, whether or not this process
// started it.
func (b *Backend) Destroy(ctx context.Context, id string) error {
	if ours, err := b.options.CheckDestroy(id); !ours {
		return err
	}
	b.mu.Lock()
	started := b.machines[id]
	delete(b.machines, id)
	b.mu.Unlock()
	if started != nil { // it may not have locked its files yet, and Remove goes by the lock
		if err := started.end(ctx); err != nil {
			return err
		}
	}
	return b.tool.Remove(ctx, id)
}

// Find asks Tart for its machines. Those of this pool have ids of its workers
// for names.
func (b *Backend) Find(ctx context.Context) ([]backend.Machine, error) {
	if _, err := os.Stat(b.tool.dir("")); os.IsNotExist(err) { // nothing was ever made
		return nil, nil
	}
	all, err := b.tool.list(ctx, "local")
	if err != nil {
		return nil, err
	}
	var machines []backend.Machine
	for _, l := range all {
		if b.options.Owns(l.Name) {
			machines = append(machines, foreigntool.Watch(l.Name, func() error { return b.tool.gone(l.Name) }))
		}
	}
	return machines, nil
}
