//go:build linux

package draft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source/debootstrap"
)

// runnerPath is where an image has gitlab-runner.
const runnerPath = "/usr/local/bin/gitlab-runner"

// Tree makes the draft of an image for containers: a root file system in
// golden.Tree(), which may be there already if it is empty. It holds the binaries
// that a disk's first boot takes from the seed volume.
func Tree(ctx context.Context, recipe image.Recipe, golden image.Golden, progress image.Progress) error {
	if recipe.Source.Kind != image.Debootstrap {
		return fmt.Errorf("image.source: containers are made from packages, and a cloud image holds a whole disk: "+
			"write %q, or choose a backend of virtual machines", image.Debootstrap)
	}
	progress("packages", "")
	show := func(line string) { progress("packages", line) }
	if err := (debootstrap.Maker{Container: true}).Make(ctx, recipe, golden.Dir, show); err != nil {
		return err
	}
	err := install(ctx, recipe.Agent, filepath.Join(golden.Tree(), guest.AgentPath))
	if recipe.GitLabRunner != "" {
		err = errors.Join(err, install(ctx, recipe.GitLabRunner, filepath.Join(golden.Tree(), runnerPath)))
	}
	return err
}

func install(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("installing %s: %w", from, err)
	}
	if err := disk.SparseCopy(ctx, from, to); err != nil {
		return fmt.Errorf("installing %s: %w", from, err)
	}
	return os.Chmod(to, 0o755)
}
