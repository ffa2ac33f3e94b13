//go:build linux

package vmm

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/prebuild"
)

var _ backend.Saver = (*Backend)(nil)

// Save has the agent of the worker do what it does at the end of a build, and takes the
// disk once the machine is off.
func (b *Backend) Save(
	ctx context.Context, golden image.Golden, id string, recipe image.Recipe, progress image.Progress,
) (image.Golden, error) {
	m := b.known(id)
	if m == nil || m.how != backend.Clone {
		return image.Golden{}, fmt.Errorf("saving %s: this process has booted no such worker", id)
	}
	return b.images().Build(ctx, recipe, func(ctx context.Context, work string) (root string, err error) {
		w := &prebuild.Work{
			Golden:   image.Golden{Dir: work, Manifest: image.Manifest{Recipe: recipe, Root: golden.Root}},
			Prepared: true,
		}
		w.Begin(time.Now())
		if err := copyKernel(ctx, golden, w.Golden); err != nil {
			return "", err
		}
		if err := b.sealWorker(ctx, m, w, progress); err != nil {
			return "", bootlog.WithConsole(err, m.spec.Console)
		}
		progress("disk", "")
		err = disk.Copy(ctx, m.spec.Console, filepath.Join(work, buildLog))
		if err == nil {
			err = disk.Flatten(ctx, m.spec.Disk, m.spec.Format, golden.Disk(), w.Disk())
		}
		return w.Root, err
	})
}

// sealWorker returns when the machine is off and its files are ours.
func (b *Backend) sealWorker(ctx context.Context, m *machine, w *prebuild.Work, progress image.Progress) error {
	running, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	err := m.explain(m.talk(running, func(ctx context.Context, agent *guest.Client) error {
		return prebuild.Run(ctx, agent, w, progress)
	}))
	if err != nil {
		return err
	}
	if err := m.awaitPowerOff(ctx); err != nil {
		return err
	}
	return b.reclaim(ctx, m.id, m.spec.Disk, m.spec.Console)
}
