//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/draft"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/prebuild"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

const (
	// powerOffLimit bounds the guest's orderly end after it was sealed.
	powerOffLimit = 3 * time.Minute
	// buildLog is the console of the prebuild, kept with the image.
	buildLog = "prebuild.log"
)

// Build makes the golden image unless it is there.
func (b *Backend) Build(ctx context.Context, recipe image.Recipe, progress image.Progress) (image.Golden, error) {
	images := cache.New(b.options.ImagesDir)
	return images.Build(ctx, recipe.Digest(), func(ctx context.Context, work string) (image.Manifest, error) {
		began := time.Now()
		root, err := b.build(ctx, recipe, work, progress)
		return image.Manifest{
			Recipe: recipe, Root: root,
			BuiltAt: time.Now().UTC().Truncate(time.Second), BuiltSeconds: time.Since(began).Seconds(),
		}, err
	})
}

func (b *Backend) build(ctx context.Context, recipe image.Recipe, work string, progress image.Progress) (root string, err error) {
	golden := image.Golden{Dir: work}
	maker := draft.Maker{Downloads: filepath.Join(b.options.StateDir, "downloads")}
	made, err := maker.Make(ctx, recipe, golden, progress)
	if err != nil {
		return "", err
	}
	golden.Root = made.Root

	p := prebuilder{Backend: b, recipe: recipe, golden: golden, draft: made, progress: progress, id: workerid.Derived(b.options.Pool, "image "+recipe.Digest())}
	progress("boot", "")
	if root, err = p.run(ctx); err != nil {
		return "", fmt.Errorf("%w%s", err, process.ConsoleTail(filepath.Join(golden.Dir, buildLog)))
	}
	return root, os.Remove(made.Seed)
}

// prebuilder boots one draft.
type prebuilder struct {
	*Backend
	recipe   image.Recipe
	golden   image.Golden
	draft    draft.Draft
	progress image.Progress
	id       string
}

func (p prebuilder) run(ctx context.Context) (root string, err error) {
	err = p.asWorker(ctx, p.id, func(dir string, lease network.Lease) error {
		root, err = p.boot(ctx, dir, lease)
		return err
	})
	return root, err
}

// asWorker runs something that has an id, a lease and a directory like a
// worker's, so that what a killed process leaves of it is found and removed
// like what a worker left.
func (b *Backend) asWorker(ctx context.Context, id string, run func(dir string, lease network.Lease) error) (err error) {
	dir := filepath.Join(b.options.WorkersDir, id)
	if err := b.removeAsWorker(ctx, id, dir); err != nil { // of an earlier try
		return err
	}
	defer func() { err = errors.Join(err, b.removeAsWorker(context.WithoutCancel(ctx), id, dir)) }()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("directory of %s: %w", id, err)
	}
	lease, err := b.options.Network.Acquire(ctx, id)
	if err != nil {
		return fmt.Errorf("network of %s: %w", id, err)
	}
	return run(dir, lease)
}

// removeLimit bounds the removal of what lived like a worker.
const removeLimit = 30 * time.Second

func (b *Backend) removeAsWorker(ctx context.Context, id, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	return errors.Join(b.Destroy(ctx, id), b.options.Network.Release(ctx, id), os.RemoveAll(dir))
}

// boot boots the draft, hands the guest to package prebuild, and waits until
// it is off.
func (p prebuilder) boot(ctx context.Context, dir string, lease network.Lease) (root string, err error) {
	acceleration, err := p.acceleration(ctx, probeKernel(p.golden))
	if err != nil {
		return "", err
	}
	m, err := p.launch(p.id, dir, lease.Namespace, p.machine(acceleration))
	if err != nil {
		return "", err
	}
	root, err = p.talk(ctx, m)
	if err := m.explain(err); err != nil {
		return "", err
	}
	return root, m.awaitPowerOff(ctx)
}

func (p prebuilder) machine(acceleration Acceleration) machineSpec {
	spec := machineSpec{
		Accel: acceleration.Name, CPUs: p.recipe.CPUs, Memory: p.recipe.Memory,
		Disk: p.golden.Disk(), Format: "raw", Seed: p.draft.Seed,
		Console: filepath.Join(p.golden.Dir, buildLog), Network: true,
		KernelArguments: []string{"ds=nocloud"},
	}
	if p.draft.Root != "" {
		spec.Kernel, spec.Initrd, spec.Root = p.golden.Kernel(), p.golden.Initrd(), p.draft.Root
	}
	return spec
}

func (p prebuilder) talk(ctx context.Context, m *machine) (root string, err error) {
	ctx, cancel := m.whileRunning(ctx)
	defer cancel()
	conn, err := m.reach(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return prebuild.Run(ctx, guest.NewClient(conn), p.recipe, p.golden, p.progress)
}

func (m *machine) awaitPowerOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, powerOffLimit, fmt.Errorf("the guest did not power off within %s", powerOffLimit))
	defer cancel()
	select {
	case <-m.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-m.qmp.Closed(): // its last event has been read then
	case <-time.After(endDelay):
	}
	if !m.poweredOff() {
		return fmt.Errorf("the guest was sealed, but did not end as it should: %w", m.Err())
	}
	return nil
}

// poweredOff tells an orderly end from a panic, or a QEMU that was killed: only
// the disk of the first is whole.
func (m *machine) poweredOff() bool {
	words := m.lastWords.Load()
	return errors.Is(m.process.Err(), process.ErrSucceeded) && words != nil && *words == "SHUTDOWN (guest-shutdown)"
}

// probeKernel is the image's own kernel, or else one of the host's: what
// matters is that it is a real one.
func probeKernel(golden image.Golden) string {
	if _, err := os.Stat(golden.Kernel()); err == nil {
		return golden.Kernel()
	}
	return hostKernel()
}

// hostKernel is empty on a host that keeps no kernel, such as a container.
func hostKernel() string {
	kernels, err := filepath.Glob("/boot/vmlinuz-*")
	if err != nil || len(kernels) == 0 {
		return ""
	}
	return kernels[len(kernels)-1]
}
