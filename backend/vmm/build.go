//go:build linux

package vmm

import (
	"context"
	"errors"
	"fmt"
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
	build := func(ctx context.Context, work string) (root string, err error) {
		golden := image.Golden{Dir: work}
		maker := draft.Maker{Downloads: filepath.Join(b.options.StateDir, "downloads")}
		made, err := maker.Make(ctx, recipe, golden, progress)
		if err != nil {
			return "", err
		}
		golden.Root = made.Root
		progress("boot", "")
		if root, err = b.prebuild(ctx, recipe, golden, made.Seed, progress); err != nil {
			return "", bootlog.WithConsole(err, filepath.Join(work, buildLog))
		}
		return root, os.Remove(made.Seed)
	}
	return cache.New(b.options.ImagesDir).Build(ctx, recipe, build)
}

// prebuild boots the draft, has package prebuild make an image of it, and waits
// until the guest has powered itself off.
func (b *Backend) prebuild(
	ctx context.Context, recipe image.Recipe, golden image.Golden, seed string, progress image.Progress,
) (root string, err error) {
	err = b.stage().Run(ctx, "image "+recipe.Digest(), func(at stage.Place) error {
		accel, err := b.acceleration(ctx, probeKernel(golden))
		if err != nil {
			return err
		}
		spec := draftSpec(recipe, golden).in(at.Dir)
		spec.Accel, spec.Seed = accel, seed
		spec.Layout = b.layout(backend.Size{CPUs: spec.CPUs, Memory: spec.Memory}, accel, at.Lease.Queues)
		spec.Disk, spec.Console = golden.Disk(), filepath.Join(golden.Dir, buildLog)
		m, err := b.launch(ctx, at, spec)
		if err != nil {
			return err
		}
		err = m.boot(ctx, func(ctx context.Context, agent *guest.Client) (err error) {
			root, err = prebuild.Run(ctx, agent, recipe, golden, progress)
			return err
		})
		if err != nil {
			return err
		}
		if err := m.awaitPowerOff(ctx); err != nil {
			return err
		}
		return b.reclaim(ctx, at.ID, spec.Disk, spec.Console)
	})
	return root, err
}

// draftSpec boots the draft's own kernel, unless it has none yet: then the
// disk's boot loader is booted.
func draftSpec(recipe image.Recipe, golden image.Golden) Spec {
	spec := Spec{CPUs: recipe.CPUs, Memory: recipe.Memory, Format: "raw", Network: true}
	if golden.Root != "" {
		spec.Kernel, spec.Initrd, spec.Root = golden.Kernel(), golden.Initrd(), golden.Root
		spec.KernelArguments = []string{"ds=nocloud"} // where cloud-init finds the seed volume
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
