package bhyve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Options are what the backend needs from its surroundings.
type Options struct {
	foreigntool.Options
	// Sudo is what runs commands as root: "sudo", "doas", or "" where this
	// process is root.
	Sudo string
	// Template is vm-bhyve's, for guests made of an image.
	Template string
	// Leases says where addresses come from: Auto, Kea, DHCPD, Dnsmasq or ARP.
	// LeasesFile is the file of that server, where it is not the usual one.
	Leases, LeasesFile string
	// Devices is where the kernel shows its guests; empty means /dev/vmm.
	Devices string
}

// Backend runs workers as guests of vm-bhyve.
type Backend struct {
	options Options
	host    *host
	images  foreigntool.Images[foreigntool.Note]
}

var _ backend.Backend = (*Backend)(nil)

// New returns the backend of one pool. It touches nothing.
func New(options Options) *Backend {
	h := &host{prefix: prefixes[options.Sudo], devices: cmp.Or(options.Devices, "/dev/vmm"), goneLimit: goneLimit}
	b := &Backend{options: options, host: h}
	b.images = foreigntool.Images[foreigntool.Note]{
		Options: options.Options, Tool: h, NoteFile: "bhyve.json", Destroy: b.Destroy,
	}
	return b
}

// Start clones the golden guest, starts the clone and gives it its identity.
func (b *Backend) Start(ctx context.Context, golden image.Golden, spec backend.Spec) (backend.Machine, error) {
	note, err := b.images.Open(ctx, golden)
	if err != nil {
		return nil, err
	}
	err = b.host.whole(ctx, "vm", cloneArguments(foreigntool.GoldenName(golden.Digest), snapshotName, spec.ID)...)
	if err != nil {
		return nil, err
	}
	m, err := b.run(ctx, spec.ID, spec.Size)
	if err != nil {
		return nil, err
	}
	return m, foreigntool.Introduce(ctx, m, b.locate(spec.ID), note, spec.Identity)
}

// Destroy powers a worker's guest off, and removes it with all that a crash may
// have left of it.
func (b *Backend) Destroy(ctx context.Context, id string) error {
	if ours, err := b.options.CheckDestroy(id); !ours {
		return err
	}
	return b.host.Remove(ctx, id)
}

// run starts a guest that exists, with hardware and MAC of ours.
func (b *Backend) run(ctx context.Context, name string, size backend.Size) (*foreigntool.Watched, error) {
	dir, err := b.host.directory(ctx)
	if err != nil {
		return nil, err
	}
	guest := filepath.Join(dir, name)
	conf := filepath.Join(guest, name+".conf")
	if err := b.host.whole(ctx, "sysrc", sysrcArguments(conf, macOf(name), size)...); err != nil {
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
	m := b.host.watch(name)
	return m, b.awaitDevice(ctx, m, guest)
}

const (
	lockFile = "run.lock"
	logFile  = "vm-bhyve.log"
	// deviceLimit is how long a guest that was started may take to exist; 50 ms
	// is usual.
	deviceLimit = time.Minute
	// lockLimit is how long it may take to have its lock, which comes first. It is
	// long, because nobody removes a guest that starts after it was given up.
	lockLimit  = 15 * time.Second
	devicePoll = 20 * time.Millisecond
	// fatal begins what vm-bhyve (its lib/vm-run) logs of a start that failed. Each
	// start begins a new log.
	fatal = "fatal;"
)

// awaitDevice waits for the guest to exist, and goes on when ctx has ended: only
// a guest that exists can be destroyed. What fails after vm start is told by the
// log alone.
func (b *Backend) awaitDevice(ctx context.Context, m *foreigntool.Watched, guest string) error {
	log := filepath.Join(guest, logFile)
	for began := time.Now(); time.Since(began) < deviceLimit; time.Sleep(devicePoll) {
		if b.host.alive(m.ID()) {
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
	return fmt.Errorf("guest %s did not start: %s", m.ID(), foreigntool.LastLines(string(text)))
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
		if b.options.Owns(name) && marked(filepath.Join(dir, name, name+".conf")) {
			machines = append(machines, b.host.watch(name))
		}
	}
	return machines, nil
}

// marked says whether a guest is ours by its configuration. One that cannot be
// read is taken for a user's own, which must not be destroyed for its name.
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
