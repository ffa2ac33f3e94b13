package tart

import (
	"context"
	"fmt"
	"os"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
)

// imageNote is what is known of a golden image beside its manifest.
type imageNote struct {
	foreigntool.Note
	// Suspended says that it is saved with its memory.
	Suspended bool `json:"suspended,omitempty"`
	// Pulled is the image in the registry, by its digest.
	Pulled string `json:"pulled,omitempty"`
}

// checkSource refuses what Tart cannot be given.
func checkSource(source image.Source) error {
	if source.Kind == image.OCI || source.Kind == image.VM {
		return nil
	}
	return fmt.Errorf("image.source %q is not a valid source for Tart: write \"oci:\" and the reference of an image "+
		"in a registry, or \"vm:\" and the name of one of Tart's machines", source.Kind)
}

// Build makes the golden machine unless it is there. The machine is Tart's;
// the image's directory holds what we know of it.
func (b *Backend) Build(ctx context.Context, recipe image.Recipe, progress image.Progress) (image.Golden, error) {
	if err := checkSource(recipe.Source); err != nil {
		return image.Golden{}, err
	}
	if err := b.forgetOutdated(ctx, recipe, progress); err != nil {
		return image.Golden{}, err
	}
	return b.images.Build(ctx, recipe, progress, b.prebuild)
}

// forgetOutdated removes the image's directory, so that it is built again, when
// the registry is always to be asked and has another image now. Workers that run
// are clones: it does not concern them.
func (b *Backend) forgetOutdated(ctx context.Context, recipe image.Recipe, progress image.Progress) error {
	if recipe.Source.Kind != image.OCI || !b.options.Registry.Always {
		return nil
	}
	golden, found, err := cache.New(b.options.ImagesDir).Get(recipe.Digest())
	if err != nil || !found {
		return err
	}
	note, err := b.images.Note(golden)
	if err != nil {
		return err
	}
	if err := b.pull(ctx, recipe.Source.Location, progress); err != nil {
		return err
	}
	if b.pulled(ctx, recipe.Source.Location) == note.Pulled {
		return nil
	}
	return os.RemoveAll(golden.Dir)
}

// pull shows Tart's progress.
func (b *Backend) pull(ctx context.Context, reference string, progress image.Progress) error {
	progress("pull", reference)
	show := lines.New(func(line string) { progress("pull", line) })
	_, err := b.tool.do(ctx, show, pullArguments(reference, b.options.Registry)...)
	show.Flush()
	return err
}

// pulled names the cached image by its digest. It is empty for a Tart that does
// not know the command.
func (b *Backend) pulled(ctx context.Context, reference string) string {
	text, err := b.tool.do(ctx, nil, "fqn", reference)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(text)
}
