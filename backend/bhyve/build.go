package bhyve

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// powerOffLimit bounds the end of an image's first boot.
const powerOffLimit = 3 * time.Minute

// aboutFile is what is known of a golden image beside its manifest. It holds
// the keys of its guests.
const aboutFile = "bhyve.json"

type about struct {
	OS   string      `json:"os"`
	Keys remote.Keys `json:"keys"`
}

func readAbout(dir string) (a about, err error) {
	err = cache.ReadNote(dir, aboutFile, &a)
	return a, err
}

// checkSource refuses what no guest can be made of.
func checkSource(source image.Source) error {
	switch source.Kind {
	case image.HTTPS, image.Local:
		return nil
	case image.VM:
		name, snapshot, ok := strings.Cut(source.Location, "@")
		if ok && name != "" && snapshot != "" {
			return nil
		}
		return fmt.Errorf("image.source \"vm:%s\" names no snapshot, without which every clone would leave one: "+
			"make one with `vm snapshot %s@mayfly` and write \"vm:%s@mayfly\"", source.Location, name, name)
	}
	return fmt.Errorf("image.source %q is nothing that vm-bhyve makes guests of: write an https:// URL, the absolute path of "+
		"a disk image, or \"vm:NAME@SNAPSHOT\" of a guest that is there", source.Kind)
}

// Build makes the golden guest and its snapshot unless they are there. The
// guest is vm-bhyve's; the image's directory holds what we know of it.
func (b *Backend) Build(ctx context.Context, recipe image.Recipe, progress image.Progress) (image.Golden, error) {
	if err := checkSource(recipe.Source); err != nil {
		return image.Golden{}, err
	}
	dir, err := b.host.directory(ctx)
	if err != nil {
		return image.Golden{}, err
	}
	images := cache.New(b.options.ImagesDir)
	golden, found, err := images.Get(recipe.Digest())
	if err != nil {
		return image.Golden{}, err
	}
	if found && !exists(filepath.Join(dir, goldenName(golden.Digest))) { // somebody destroyed it
		if err := os.RemoveAll(golden.Dir); err != nil {
			return image.Golden{}, err
		}
	}
	return images.Build(ctx, recipe, func(ctx context.Context, work string) (root string, err error) {
		return "", b.build(ctx, recipe, work, progress)
	})
}

// build works on a guest that has a worker's name and directory until it is
// finished.
func (b *Backend) build(ctx context.Context, recipe image.Recipe, work string, progress image.Progress) error {
	prebuilds := stage.Stage{Pool: b.options.Pool, WorkersDir: b.options.WorkersDir, Network: network.None{}, Destroy: b.Destroy}
	return prebuilds.Run(ctx, "image "+recipe.Digest(), func(at stage.Place) error {
		p := prebuilder{b, at, recipe, progress}
		made, err := p.prebuild(ctx)
		if err != nil {
			return err
		}
		if err := cache.WriteNote(work, aboutFile, made); err != nil {
			return err
		}
		return p.finish(ctx)
	})
}

// finish gives the guest its name, and then makes the snapshot: clones of a
// snapshot that is older than its guest's name fail.
func (p prebuilder) finish(ctx context.Context) error {
	name := goldenName(p.recipe.Digest())
	if err := p.remove(ctx, name); err != nil { // of an image that nobody knows any more
		return err
	}
	if err := p.host.whole(ctx, "vm", "rename", p.ID, name); err != nil {
		return err
	}
	return p.host.whole(ctx, "vm", "snapshot", name+"@"+snapshotName)
}
