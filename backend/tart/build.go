package tart

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

const (
	// powerOffLimit bounds the end of an image's first boot, and suspendLimit
	// its second, up to a machine that is saved.
	powerOffLimit = 3 * time.Minute
	suspendLimit  = 15 * time.Minute
)

// aboutFile is what is known of a golden image beside its manifest. It holds
// the keys of its machines.
const aboutFile = "tart.json"

type about struct {
	OS string `json:"os"`
	// Suspended says that it is saved with its memory.
	Suspended bool `json:"suspended,omitempty"`
	// Pulled is the image in the registry, by its digest.
	Pulled string      `json:"pulled,omitempty"`
	Keys   remote.Keys `json:"keys"`
}

func readAbout(dir string) (a about, err error) {
	err = cache.ReadNote(dir, aboutFile, &a)
	return a, err
}

// checkSource refuses what Tart cannot be given.
func checkSource(source image.Source) error {
	if source.Kind == image.OCI || source.Kind == image.VM {
		return nil
	}
	return fmt.Errorf("image.source %q is nothing that Tart makes machines of: "+
		"write \"oci:\" and the reference of an image in a registry, or \"vm:\" and the name of a machine of Tart's", source.Kind)
}

// Build makes the golden machine unless it is there. The machine is Tart's;
// the image's directory holds what we know of it.
func (b *Backend) Build(ctx context.Context, recipe image.Recipe, progress image.Progress) (image.Golden, error) {
	if err := checkSource(recipe.Source); err != nil {
		return image.Golden{}, err
	}
	images := cache.New(b.options.ImagesDir)
	if err := b.forgetOutdated(ctx, images, recipe, progress); err != nil {
		return image.Golden{}, err
	}
	return images.Build(ctx, recipe, func(ctx context.Context, work string) (root string, err error) {
		return "", b.build(ctx, recipe, work, progress)
	})
}

// forgetOutdated removes the image's directory, so that it is built again, when
// its machine is gone, or when the registry is always to be asked and has
// another one now. Workers that run are clones, and do not mind.
func (b *Backend) forgetOutdated(ctx context.Context, images *cache.Cache, recipe image.Recipe, progress image.Progress) error {
	golden, found, err := images.Get(recipe.Digest())
	if err != nil || !found {
		return err
	}
	if !b.tool.exists(goldenName(golden.Digest)) {
		return os.RemoveAll(golden.Dir)
	}
	if recipe.Source.Kind != image.OCI || !b.options.Registry.Always {
		return nil
	}
	about, err := readAbout(golden.Dir)
	if err != nil {
		return err
	}
	if err := b.pull(ctx, recipe.Source.Location, progress); err != nil {
		return err
	}
	if b.pulled(ctx, recipe.Source.Location) == about.Pulled {
		return nil
	}
	return os.RemoveAll(golden.Dir)
}

// build works on a machine that has a worker's name and directory until it is
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

// finish gives the machine its name.
func (p prebuilder) finish(ctx context.Context) error {
	name := goldenName(p.recipe.Digest())
	if err := p.remove(ctx, name); err != nil { // of an image that nobody knows any more
		return err
	}
	_, err := p.tool.do(ctx, nil, "rename", p.ID, name)
	return err
}

// pull shows Tart's progress.
func (b *Backend) pull(ctx context.Context, reference string, progress image.Progress) error {
	progress("pull", reference)
	show := lines.New(func(line string) { progress("pull", line) })
	_, err := b.tool.do(ctx, show, pullArguments(reference, b.options.Registry)...)
	show.Flush()
	return err
}

// pulled names the cached image by its digest, and is empty where a Tart does
// not tell.
func (b *Backend) pulled(ctx context.Context, reference string) string {
	text, err := b.tool.do(ctx, nil, "fqn", reference)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(text)
}

// cached says whether an image was pulled before.
func (b *Backend) cached(ctx context.Context, reference string) (bool, error) {
	all, err := b.tool.list(ctx, "oci")
	for _, l := range all {
		if l.Name == reference {
			return true, nil
		}
	}
	return false, err
}
