package bhyve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// Options are what the backend needs from its surroundings.
type Options struct {
	// Pool is the pool's name. WorkersDir holds the directories of its workers.
	Pool, WorkersDir string
	// ImagesDir holds what is known of golden images, StateDir what all pools
	// share.
	ImagesDir, StateDir string
	// Source is what images are made from.
	Source image.Source
	// Sudo is "", "sudo" or "doas": how commands become root's.
	Sudo string
	// Template is vm-bhyve's, for guests made of an image.
	Template string
	// User and Password are for an image's first login; cloud-init lets a key
	// of ours in, too. Workers have keys.
	User, Password string
	// Leases says where addresses come from: Auto, Kea, DHCPD, Dnsmasq or ARP.
	// LeasesFile is the file of that server, where it is not the usual one.
	Leases, LeasesFile string
	// Devices is where the kernel shows its guests; empty means /dev/vmm.
	Devices string

	Log *slog.Logger
}

// Backend runs workers as guests of vm-bhyve.
type Backend struct {
	options Options
	host    *host
	// goneLimit is the constant of that name, but for tests.
	goneLimit time.Duration
}

var _ backend.Backend = (*Backend)(nil)

// New returns the backend of one pool. It touches nothing.
func New(options Options) *Backend {
	h := &host{prefix: prefixes[options.Sudo], devices: options.Devices}
	if h.devices == "" {
		h.devices = "/dev/vmm"
	}
	return &Backend{options: options, host: h, goneLimit: goneLimit}
}

// Start clones the golden guest, starts the clone and gives it its identity.
func (b *Backend) Start(ctx context.Context, golden image.Golden, spec backend.Spec) (backend.Machine, error) {
	about, err := readAbout(golden.Dir)
	if err != nil {
		return nil, err
	}
	dir, err := b.host.directory(ctx)
	if err != nil {
		return nil, err
	}
	name := goldenName(golden.Digest)
	if !exists(filepath.Join(dir, name)) {
		// Without its directory the pool has the image built again.
		return nil, errors.Join(fmt.Errorf("golden guest %s is gone", name), os.RemoveAll(golden.Dir))
	}
	if err := b.host.whole(ctx, "vm", cloneArguments(name, snapshotName, spec.ID)...); err != nil {
		return nil, err
	}
	m, err := b.run(ctx, spec.ID, spec.Size)
	if err != nil {
		return nil, err
	}
	m.os = about.OS
	return m, b.introduce(ctx, m, spec, about)
}

// run starts a guest that exists, with hardware and MAC of ours.
func (b *Backend) run(ctx context.Context, name string, size backend.Size) (*machine, error) {
	dir, err := b.host.directory(ctx)
	if err != nil {
		return nil, err
	}
	guest := filepath.Join(dir, name)
	if err := b.host.whole(ctx, "sysrc", sysrcArguments(filepath.Join(guest, name+".conf"), macOf(name), size)...); err != nil {
		return nil, err
	}
	if lock := filepath.Join(guest, lockFile); exists(lock) { // it came with the snapshot of a guest that ran
		if err := b.host.whole(ctx, "rm", "-f", lock); err != nil {
			return nil, err
		}
	}
	if err := b.host.whole(ctx, "vm", "start", name); err != nil {
		return nil, err
	}
	m := newMachine(name, b.host)
	return m, b.awaitDevice(ctx, m, guest)
}

const (
	lockFile = "run.lock"
	logFile  = "vm-bhyve.log"
	// deviceLimit is how long a guest that was started may take to exist; 50 ms
	// is usual.
	deviceLimit = time.Minute
	// lockLimit is how long it may take to have its lock, which comes first. One
	// that is given up and comes after all is on nobody's list.
	lockLimit  = 15 * time.Second
	devicePoll = 20 * time.Millisecond
	// fatal begins what vm-bhyve (its lib/vm-run) logs of a start that came to
	// nothing. It begins a new log with each start.
	fatal = "fatal;"
)

// awaitDevice waits for the guest to exist, whatever becomes of ctx: who
// destroys it then finds it. vm start tells nothing of what fails after it.
func (b *Backend) awaitDevice(ctx context.Context, m *machine, guest string) error {
	log := filepath.Join(guest, logFile)
	for began := time.Now(); time.Since(began) < deviceLimit; time.Sleep(devicePoll) {
		if m.host.alive(m.id) {
			return ctx.Err()
		}
		if text, err := os.ReadFile(log); err == nil && strings.Contains(string(text), fatal) ||
			time.Since(began) > lockLimit && !exists(filepath.Join(guest, lockFile)) {
			break // it has given up
		}
	}
	text, err := os.ReadFile(log)
	if err != nil {
		text = []byte(err.Error())
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Errorf("guest %s did not start: %s", m.id, strings.Join(lines[max(0, len(lines)-logLines):], "\n  "))
}

// logLines is how many last lines of vm-bhyve's log an error shows.
const logLines = 10

// introduce logs in to a worker that boots, and gives it its identity.
func (b *Backend) introduce(ctx context.Context, m *machine, spec backend.Spec, about about) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	g, address, err := remote.Wait(ctx, b.locate(spec.ID), about.Keys.Login())
	if err != nil {
		return err
	}
	defer g.Close()
	m.address = address
	return g.Rekey(ctx, spec.Identity)
}

// Find looks for guests that have ids of this pool's workers for names, and
// our mark.
func (b *Backend) Find(ctx context.Context) ([]backend.Machine, error) {
	dir, err := b.host.directory(ctx)
	if errors.Is(err, errNoDirectory) { // there is no vm-bhyve, and no guest of it
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing guests: %w", err)
	}
	var machines []backend.Machine
	for _, entry := range entries {
		name := entry.Name()
		if _, ours := workerid.Key(b.options.Pool, name); ours && marked(filepath.Join(dir, name, name+".conf")) {
			machines = append(machines, newMachine(name, b.host))
		}
	}
	return machines, nil
}

// marked says whether a guest is ours by its configuration. One that cannot be
// read is none of ours: a user's own machine must not be destroyed for its
// name.
func marked(conf string) bool {
	text, err := os.ReadFile(conf)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if key, _, _ := strings.Cut(line, "="); key == mark {
			return true
		}
	}
	return false
}
