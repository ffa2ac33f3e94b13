//go:build linux

package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/draft"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/prebuild"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
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

	p := prebuilder{Backend: b, recipe: recipe, golden: golden, draft: made, progress: progress, id: b.buildID(recipe)}
	progress("boot", "")
	if root, err = p.run(ctx); err != nil {
		return "", fmt.Errorf("%w%s", err, consoleTail(golden.Dir))
	}
	return root, os.Remove(made.Seed)
}

// prebuilder boots one draft. It has an id, a lease and a directory like a
// worker's, so that what a killed build left is found and removed like what a
// worker left.
type prebuilder struct {
	*Backend
	recipe   image.Recipe
	golden   image.Golden
	draft    draft.Draft
	progress image.Progress
	id       string
}

func (p prebuilder) run(ctx context.Context) (root string, err error) {
	dir := filepath.Join(p.options.WorkersDir, p.id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("directory of the prebuild: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	lease, err := p.options.Network.Acquire(ctx, p.id)
	if err != nil {
		return "", fmt.Errorf("network of the prebuild: %w", err)
	}
	defer func() { err = errors.Join(err, p.options.Network.Release(context.WithoutCancel(ctx), p.id)) }()
	return p.boot(ctx, dir, lease)
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
	defer func() { err = errors.Join(err, m.process.Kill(context.WithoutCancel(ctx))) }()
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
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// buildID is the id that a build's machine, lease and directory have in place
// of a worker's. It is derived from the image: one is built once at a time.
func (b *Backend) buildID(recipe image.Recipe) string {
	sum := sha256.Sum256([]byte(recipe.Digest()))
	key := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5]))
	return b.options.Pool + "-" + key
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

// tailLines is how many last lines of the console an error shows.
const tailLines = 20

func consoleTail(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, buildLog))
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(text), "�")), "\n")
	if err != nil || lines[0] == "" {
		return ""
	}
	last := lines[max(0, len(lines)-tailLines):]
	return "\nlast lines of the console:\n  " + strings.Join(last, "\n  ")
}
