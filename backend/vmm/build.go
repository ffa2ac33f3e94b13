//go:build linux

package vmm

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/draft"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/prebuild"
)

// buildLog is the console of the prebuild, kept with the image.
const buildLog = "prebuild.log"

// Maker makes golden images.
type Maker struct {
	// ImagesDir holds the golden images, StateDir what all pools share.
	ImagesDir, StateDir string
	Stage               stage.Stage
	// Boot boots a draft, hands its agent to talk, and waits until the guest
	// has powered itself off in order: its disk must be whole.
	Boot func(ctx context.Context, d Draft, talk func(context.Context, net.Conn) error) error
}

// Draft is a draft that is to be booted.
type Draft struct {
	stage.Place
	// CPUs and Memory (bytes) are its size.
	CPUs   int
	Memory int64
	// Golden is where the image is being made. Its kernel is booted directly,
	// with Root, unless that is empty: then the disk's own boot loader is.
	Golden image.Golden
	Root   string
	// Seed is a read-only volume for cloud-init, and Console the file of the
	// boot log.
	Seed, Console string
}

// KernelArguments are what a draft's kernel is told besides: where cloud-init
// finds the seed volume.
var KernelArguments = []string{"ds=nocloud"}

// Build makes the golden image unless it is there.
func (m Maker) Build(ctx context.Context, recipe image.Recipe, progress image.Progress) (image.Golden, error) {
	return cache.New(m.ImagesDir).Build(ctx, recipe, func(ctx context.Context, work string) (root string, err error) {
		return m.build(ctx, recipe, work, progress)
	})
}

func (m Maker) build(ctx context.Context, recipe image.Recipe, work string, progress image.Progress) (root string, err error) {
	golden := image.Golden{Dir: work}
	maker := draft.Maker{Downloads: filepath.Join(m.StateDir, "downloads")}
	made, err := maker.Make(ctx, recipe, golden, progress)
	if err != nil {
		return "", err
	}
	golden.Root = made.Root
	progress("boot", "")
	if root, err = m.prebuild(ctx, recipe, golden, made, progress); err != nil {
		return "", fmt.Errorf("%w%s", err, bootlog.Tail(filepath.Join(golden.Dir, buildLog)))
	}
	return root, os.Remove(made.Seed)
}

// prebuild boots the draft and has package prebuild make an image of it.
func (m Maker) prebuild(ctx context.Context, recipe image.Recipe, golden image.Golden, made draft.Draft, progress image.Progress) (root string, err error) {
	err = m.Stage.Run(ctx, "image "+recipe.Digest(), func(at stage.Place) error {
		d := Draft{
			Place: at, CPUs: recipe.CPUs, Memory: recipe.Memory,
			Golden: golden, Root: made.Root, Seed: made.Seed, Console: filepath.Join(golden.Dir, buildLog),
		}
		return m.Boot(ctx, d, func(ctx context.Context, agent net.Conn) (err error) {
			root, err = prebuild.Run(ctx, guest.NewClient(agent), recipe, golden, progress)
			return err
		})
	})
	return root, err
}
