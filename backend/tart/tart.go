package tart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// macOS is what Tart calls the system of such a guest, as Go does.
const macOS = "darwin"

// Options are what the backend needs from its surroundings.
type Options struct {
	// Pool is the pool's name. WorkersDir holds the directories of its workers.
	Pool, WorkersDir string
	// ImagesDir holds what is known of golden images, StateDir what all pools
	// share.
	ImagesDir, StateDir string
	// Home is TART_HOME, short enough for the sockets below it.
	Home string
	// Source is what images are made from.
	Source image.Source
	// MaxWorkers is the most workers of the pool; 0 is no such limit.
	MaxWorkers int

	Registry Registry
	Settings Settings
	// User and Password are for an image's first login. Workers have keys.
	User, Password string
	// Mounts are mounted in each worker before it is handed out.
	Mounts []Mount
	// AutoCPU and AutoMemory give each worker its share of the host.
	AutoCPU, AutoMemory bool
	// RandomSerial gives each macOS worker a serial number of its own.
	RandomSerial bool
	// Resolver is how Tart finds addresses: dhcp, arp or agent.
	Resolver string
	// Suspendable saves the golden image with its memory: its workers resume,
	// one at a time.
	Suspendable bool

	Log *slog.Logger
}

// Backend runs workers as Tart's machines.
type Backend struct {
	options Options
	tool    tool

	mu       sync.Mutex
	machines map[string]*machine
}

var _ backend.Backend = (*Backend)(nil)

// New returns the backend of one pool. It touches nothing.
func New(options Options) *Backend {
	return &Backend{
		options:  options,
		tool:     tool{findBinary(), options.Home},
		machines: map[string]*machine{},
	}
}

// goldenName is what Tart calls a golden image.
func goldenName(digest string) string { return "mayfly-" + digest }

// Start clones the golden machine, runs the clone and gives it its identity.
func (b *Backend) Start(ctx context.Context, golden image.Golden, spec backend.Spec) (backend.Machine, error) {
	about, err := readAbout(golden.Dir)
	if err != nil {
		return nil, err
	}
	name := goldenName(golden.Digest)
	if !b.tool.exists(name) {
		// Without its directory the pool has the image built again.
		return nil, errors.Join(fmt.Errorf("golden machine %s: %w", name, errNotExist), os.RemoveAll(golden.Dir))
	}
	resumed := ""
	if about.Suspended {
		resumed = golden.Digest
	}
	release, err := b.slots(ctx, about.OS, resumed)
	if err != nil {
		return nil, err
	}
	if err := b.clone(ctx, name, spec, about); err != nil {
		release()
		return nil, err
	}
	m, err := b.launch(spec.ID, spec.Dir, runArguments(spec.ID, b.options.Settings, about.Suspended), release)
	if err != nil {
		return nil, err
	}
	m.os = about.OS
	if err := b.introduce(ctx, m, spec, about); err != nil {
		return nil, err
	}
	return m, nil
}

// clone makes a worker's machine. Tart would replace one of that name without
// a word. A suspended one is left as it is: other hardware does not resume.
func (b *Backend) clone(ctx context.Context, golden string, spec backend.Spec, about about) error {
	if b.tool.exists(spec.ID) {
		return fmt.Errorf("machine %s exists already", spec.ID)
	}
	if _, err := b.tool.do(ctx, nil, cloneArguments(golden, spec.ID, false, b.options.Registry)...); err != nil {
		return err
	}
	if about.Suspended {
		return nil
	}
	size, err := b.size(spec.Size)
	if err != nil {
		return err
	}
	_, err = b.tool.do(ctx, nil, setArguments(spec.ID, hardware{
		CPUs: size.CPUs, Memory: size.Memory, Serial: b.options.RandomSerial && about.OS == macOS,
	})...)
	return err
}

// introduce logs in to a worker that boots, mounts its shares and gives it its
// identity.
func (b *Backend) introduce(ctx context.Context, m *machine, spec backend.Spec, about about) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	g, address, err := remote.Wait(ctx, b.locate(spec.ID), about.Keys.Login())
	if err != nil {
		return err
	}
	defer g.Close()
	m.address = address
	for _, mount := range b.options.Mounts {
		if err := g.Mount(ctx, mount.Tag, mount.Dir); err != nil {
			return err
		}
	}
	return g.Rekey(ctx, spec.Identity)
}

// ipPause is for a Tart that has no address yet: each question is a process.
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
	if !workerid.Valid(id) {
		return fmt.Errorf("%q is no worker's id", id)
	}
	if _, ours := workerid.Key(b.options.Pool, id); !ours {
		return nil // there is no such worker here, and Tart has machines of other pools
	}
	b.mu.Lock()
	known := b.machines[id]
	delete(b.machines, id)
	b.mu.Unlock()
	if known != nil { // also one that has not locked its files yet
		if err := known.end(ctx); err != nil {
			return err
		}
	}
	return b.remove(ctx, id)
}

// remove deletes a machine that may run, or may not exist.
func (b *Backend) remove(ctx context.Context, name string) error {
	if !b.tool.exists(name) {
		return nil
	}
	pid, err := b.tool.pid(name)
	if err != nil {
		return err
	}
	if pid != 0 {
		if _, err := b.tool.do(ctx, nil, stopArguments(name)...); err != nil && !errors.Is(err, errNotRunning) && !errors.Is(err, errNotExist) {
			return err
		}
	}
	if _, err := b.tool.do(ctx, nil, "delete", name); err != nil && !errors.Is(err, errNotExist) {
		return err
	}
	// What Tart takes for no machine is half of one.
	if err := os.RemoveAll(b.tool.dir(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing machine %s: %w", name, err)
	}
	return nil
}

func (b *Backend) keep(m *machine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.machines[m.id] = m
}
