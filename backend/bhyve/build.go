package bhyve

import (
	"context"
	"fmt"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

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
	return fmt.Errorf("image.source %q is not a valid source for vm-bhyve: write an https:// URL, the absolute path "+
		"of a disk image, or \"vm:NAME@SNAPSHOT\" of a guest that is there", source.Kind)
}

// Build makes the golden guest and its snapshot unless they are there. The
// guest is vm-bhyve's; the image's directory holds what we know of it.
func (b *Backend) Build(ctx context.Context, recipe image.Recipe, progress image.Progress) (image.Golden, error) {
	if err := checkSource(recipe.Source); err != nil {
		return image.Golden{}, err
	}
	return b.images.Build(ctx, recipe, progress, b.prebuild)
}
