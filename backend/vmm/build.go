//go:build linux

package vmm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/draft"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/prebuild"
)

const (
	// buildLog is the console of the prebuild, kept with the image.
	buildLog = "prebuild.log"
	// powerOffLimit bounds the guest's orderly end after it was sealed.
	powerOffLimit = 3 * time.Minute
)

// Build makes the golden image unless it is there, whichever driver made it, or brings
// the one that another host has pushed.
func (b *Backend) Build(ctx context.Context, recipe image.Recipe, progress image.Progress) (image.Golden, error) {
	if recipe.Source.Kind == image.OCI {
		return b.options.Pull(ctx, recipe, progress)
	}
	maker := draft.Maker{Downloads: filepath.Join(b.options.StateDir, "downloads")}
	builder := func(ctx context.Context, work string, stack *cache.Stack) (image.Manifest, error) {
		return b.build(ctx, maker, recipe, work, stack, progress)
	}
	ingredients := func(ctx context.Context, recipe image.Recipe) (string, error) {
		drafts, err := maker.Ingredients(ctx, recipe)
		return drafts + prebuild.Ingredients(recipe), err
	}
	return b.images().BuildInLayers(ctx, recipe, ingredients, builder)
}

func (b *Backend) images() *cache.Cache { return cache.New(b.options.ImagesDir).With(b.options.InUse) }

func (b *Backend) build(
	ctx context.Context, maker draft.Maker, recipe image.Recipe, dir string, stack *cache.Stack,
	progress image.Progress,
) (image.Manifest, error) {
	if err := prebuild.CheckSecrets(recipe); err != nil {
		return image.Manifest{}, err
	}
	w := &prebuild.Work{Golden: image.Golden{Dir: dir, Manifest: image.Manifest{Recipe: recipe}}}
	if err := b.begin(ctx, maker, stack, w, progress); err != nil {
		return image.Manifest{}, err
	}
	seed, err := draft.Seed(ctx, recipe, w.Golden, progress)
	if err != nil {
		return image.Manifest{}, err
	}
	progress("boot", "")
	if err := b.prebuild(ctx, stack, w, seed, progress); err != nil {
		return image.Manifest{}, bootlog.WithConsole(err, filepath.Join(dir, buildLog))
	}
	return w.Manifest, os.Remove(seed)
}

// begin makes the disk that is booted: that of the highest layer, that of the saved image
// that the recipe names, or a new draft.
func (b *Backend) begin(
	ctx context.Context, maker draft.Maker, stack *cache.Stack, w *prebuild.Work, progress image.Progress,
) (err error) {
	// A draft of packages is a base, and has its first boot before it. A cloud image
	// becomes a base by its first boot, which installs packages.
	fromPackages := w.Recipe.Source.Kind == image.Debootstrap
	if layer, found := stack.Top(); found {
		progress("layer", layer.Found())
		w.GoOn(layer.Manifest)
		w.Prepared = len(w.Steps) > 1 || !fromPackages
		return copyDisk(ctx, layer, w.Golden)
	}
	if w.Recipe.Source.Kind == image.Saved {
		return b.beginSaved(ctx, w, progress)
	}
	began := time.Now()
	if w.Root, err = maker.Make(ctx, w.Recipe, w.Golden, progress); err != nil {
		return err
	}
	w.Begin(began)
	if !fromPackages {
		return nil
	}
	w.Keep = func(ctx context.Context) error {
		return stack.Keep(ctx, w.Manifest, func(ctx context.Context, dir string) error {
			return copyDisk(ctx, w.Golden, image.Golden{Dir: dir})
		})
	}
	return w.KeepState(ctx, progress)
}

// beginSaved copies the disk of a saved image. It is no layer: the image is there.
func (b *Backend) beginSaved(ctx context.Context, w *prebuild.Work, progress image.Progress) (err error) {
	began := time.Now()
	saved, release, err := b.images().HoldSaved(ctx, w.Recipe)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	progress("saved image", saved.Digest)
	w.Root, w.Prepared = saved.Root, true
	if err := copyDisk(ctx, saved, w.Golden); err != nil {
		return err
	}
	w.Begin(began)
	w.BaseAt = saved.BuiltAt
	return nil
}

// copyDisk copies a disk with the kernel that is beside it, if there is one.
func copyDisk(ctx context.Context, from, to image.Golden) error {
	if err := disk.Copy(ctx, from.Disk(), to.Disk()); err != nil {
		return err
	}
	return copyKernel(ctx, from, to)
}

func copyKernel(ctx context.Context, from, to image.Golden) error {
	if _, err := os.Stat(from.Kernel()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(disk.Copy(ctx, from.Kernel(), to.Kernel()), disk.Copy(ctx, from.Initrd(), to.Initrd()))
}

// prebuild boots the draft, has package prebuild make an image of it, and waits
// until the guest has powered itself off.
func (b *Backend) prebuild(
	ctx context.Context, stack *cache.Stack, w *prebuild.Work, seed string, progress image.Progress,
) error {
	return b.stage().Run(ctx, "image "+w.Recipe.Digest(), func(at stage.Place) error {
		accel, err := b.acceleration(ctx, probeKernel(w.Golden))
		if err != nil {
			return err
		}
		spec := draftSpec(w.Recipe, w.Golden).in(at.Dir)
		spec.Accel, spec.Seed = accel, seed
		spec.Layout = b.layout(backend.Size{CPUs: spec.CPUs, Memory: spec.Memory}, accel, at.Lease.Queues)
		spec.Disk, spec.Console = w.Disk(), filepath.Join(w.Dir, buildLog)
		if spec.Kernel == "" {
			if spec.UEFI, err = disk.NeedsUEFI(spec.Disk); err != nil {
				return err
			}
		}
		m, err := b.launch(ctx, at, spec)
		if err != nil {
			return err
		}
		if w.Recipe.GivesWay {
			b.share(m, process.LowShare)
		}
		err = m.boot(ctx, func(ctx context.Context, agent *guest.Client) error {
			w.Keep = func(ctx context.Context) error { return keepFrozen(ctx, stack, w.Golden, agent) }
			return prebuild.Run(ctx, agent, w, progress)
		})
		if err != nil {
			return err
		}
		if err := m.awaitPowerOff(ctx); err != nil {
			return err
		}
		return b.reclaim(ctx, at.ID, spec.Disk, spec.Console)
	})
}

// keepFrozen copies the disk of a machine that runs. What the machine has written is in
// the file, or in what the kernel keeps of it.
func keepFrozen(ctx context.Context, stack *cache.Stack, golden image.Golden, agent *guest.Client) error {
	return stack.Keep(ctx, golden.Manifest, func(ctx context.Context, dir string) error {
		return agent.WhileFrozen(ctx, func() error { return copyDisk(ctx, golden, image.Golden{Dir: dir}) })
	})
}

// draftSpec boots the draft's own kernel, unless it has none yet: then the
// disk's boot loader is booted.
func draftSpec(recipe image.Recipe, golden image.Golden) Spec {
	spec := Spec{CPUs: recipe.CPUs, Memory: recipe.Memory, Format: "raw", Network: true}
	if golden.Root != "" {
		spec.Kernel, spec.Initrd, spec.Root = golden.Kernel(), golden.Initrd(), golden.Root
		spec.KernelArguments = []string{"ds=nocloud"} // where cloud-init finds the seed volume
	}
	if recipe.Source.Kind == image.Saved { // which is sealed
		spec.KernelArguments = guest.BuildArguments
	}
	return spec
}

// awaitPowerOff tells an orderly end from a panic, or a process that was killed:
// only the disk of the first is whole.
func (m *machine) awaitPowerOff(ctx context.Context) error {
	late := fmt.Errorf("the guest did not power off within %s", powerOffLimit)
	ctx, cancel := context.WithTimeoutCause(ctx, powerOffLimit, late)
	defer cancel()
	if err := m.awaitEnd(ctx); err != nil {
		return err
	}
	if _, poweredOff := m.monitor.End(); !poweredOff || !errors.Is(m.process.Err(), process.ErrSucceeded) {
		return fmt.Errorf("the guest was sealed, but did not end as it should: %w", m.Err())
	}
	return nil
}
