// Package draft makes the draft of a golden image: a disk that has what the
// recipe's source gives, and the seed volume with which its first boot
// becomes a prebuild. Booting it is a backend's business, what happens then is
// package prebuild's.
package draft

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit/seed"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/initrd"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source"
)

// Draft is what was made beside the golden image's disk.
type Draft struct {
	// Root is the kernel's arguments for the root file system; empty when the
	// draft has no kernel of its own yet, and boots by its boot loader.
	Root string
	// Seed is the path of the seed volume.
	Seed string
}

// Maker makes drafts.
type Maker struct {
	// Downloads is the directory that keeps downloaded cloud images.
	Downloads string
}

const seedFile = "seed.iso"

// Make makes the disk, the kernel where there is one, and the seed volume in
// the golden image's directory.
func (m Maker) Make(ctx context.Context, recipe image.Recipe, golden image.Golden, progress image.Progress) (Draft, error) {
	made := Draft{Seed: filepath.Join(golden.Dir, seedFile)}
	var err error
	if recipe.Source.Kind == image.Debootstrap {
		made.Root, err = fromPackages(ctx, recipe, golden, progress)
	} else {
		err = m.fromCloudImage(ctx, recipe, golden, progress)
	}
	if err != nil {
		return Draft{}, err
	}
	progress("seed", "")
	return made, writeSeed(ctx, recipe, made.Seed)
}

// fromPackages makes a whole disk one file system, without partitions or boot
// loader: the kernel and our own initial RAM disk lie beside it.
func fromPackages(ctx context.Context, recipe image.Recipe, golden image.Golden, progress image.Progress) (root string, err error) {
	progress("packages", "")
	show := func(line string) { progress("packages", line) }
	if err := (source.Debootstrap{}).Make(ctx, recipe, golden.Dir, show); err != nil {
		return "", err
	}
	tree := filepath.Join(golden.Dir, source.RootDir)
	kernel, ramdisk, err := initrd.FromRoot(tree)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(golden.Initrd(), ramdisk, 0o644); err != nil {
		return "", fmt.Errorf("writing the initrd: %w", err)
	}
	if err := disk.SparseCopy(ctx, kernel, golden.Kernel()); err != nil {
		return "", fmt.Errorf("copying the kernel: %w", err)
	}
	progress("disk", "")
	if err := disk.FromDirectory(ctx, tree, golden.Disk(), recipe.Disk, "root"); err != nil {
		return "", err
	}
	if err := os.RemoveAll(tree); err != nil {
		return "", fmt.Errorf("removing the root file system's directory: %w", err)
	}
	return "root=/dev/vda", nil
}

func (m Maker) fromCloudImage(ctx context.Context, recipe image.Recipe, golden image.Golden, progress image.Progress) error {
	stage := "download"
	if recipe.Source.Kind == image.Local {
		stage = "image file"
	}
	progress(stage, "")
	show := func(line string) { progress(stage, line) }
	path, err := m.fetch(ctx, recipe.Source, show)
	if err != nil {
		return err
	}
	progress("disk", "")
	return disk.ToRaw(ctx, path, golden.Disk(), recipe.Disk)
}

func (m Maker) fetch(ctx context.Context, from image.Source, show func(string)) (string, error) {
	switch from.Kind {
	case image.HTTPS:
		return source.HTTPS{Dir: m.Downloads}.Fetch(ctx, from, show)
	case image.Local:
		return source.Local{}.Fetch(ctx, from, show)
	}
	return "", fmt.Errorf("image.source: no disk is made of %q here: write \"debootstrap\", an https:// URL or the absolute path of a file", from.Kind)
}

func writeSeed(ctx context.Context, recipe image.Recipe, path string) error {
	files := map[string]string{agentFile: recipe.Agent}
	if recipe.GitLabRunner != "" {
		files[runnerFile] = recipe.GitLabRunner
	}
	network := networkConfig()
	err := seed.Write(path, seed.Volume{
		UserData: userData(recipe),
		MetaData: cloudinit.MetaData{InstanceID: "mayfly-" + recipe.Digest(), LocalHostname: "mayfly-prebuild"},
		Network:  &network,
		Files:    files,
	})
	if err != nil {
		return fmt.Errorf("making the seed volume: %w", err)
	}
	return context.Cause(ctx)
}
