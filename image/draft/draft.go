//go:build linux

package draft

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit/seed"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/initrd"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source/debootstrap"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Maker makes drafts.
type Maker struct {
	// Downloads is the directory that keeps downloaded cloud images.
	Downloads string
}

const seedFile = "seed.iso"

// revision is to be increased when the code makes another draft of the same
// ingredients, such as with another initial RAM disk: no layer of before is used then.
const revision = "1"

// Ingredients are all that decides the draft besides the recipe, and what its source
// holds at the time: the settings of this host, and what we add. They are for
// image.Recipe.Layers.
func (m Maker) Ingredients(ctx context.Context, recipe image.Recipe) (string, error) {
	added, err := json.Marshal(userData(recipe))
	if err != nil {
		return "", fmt.Errorf("what the first boot does: %w", err)
	}
	system := ""
	if recipe.Source.Kind == image.Debootstrap {
		if system, err = (debootstrap.Maker{}).Ingredients(ctx, recipe); err != nil {
			return "", err
		}
	}
	file := ""
	if recipe.Source.Kind == image.Local {
		info, err := os.Stat(recipe.Source.Location)
		if err != nil {
			return "", fmt.Errorf("image.source: %w", err)
		}
		file = fmt.Sprintf("%d bytes of %s", info.Size(), info.ModTime().UTC())
	}
	return strings.Join([]string{revision, system, string(added), file}, "\n"), nil
}

// Make makes the disk, and the kernel where there is one, in the golden image's
// directory. Root is the kernel's arguments for the root file system; it is empty when
// the draft has no kernel of its own yet, and boots by its boot loader.
func (m Maker) Make(
	ctx context.Context, recipe image.Recipe, golden image.Golden, progress image.Progress,
) (root string, err error) {
	if recipe.Source.Kind == image.Debootstrap {
		return fromPackages(ctx, recipe, golden, progress)
	}
	return "", m.fromCloudImage(ctx, recipe, golden, progress)
}

// Seed makes the seed volume in the golden image's directory, and returns its path.
func Seed(ctx context.Context, recipe image.Recipe, golden image.Golden, progress image.Progress) (string, error) {
	progress("seed", "")
	path := filepath.Join(golden.Dir, seedFile)
	return path, writeSeed(ctx, recipe, path)
}

// fromPackages makes a disk that is one file system, without partitions or boot
// loader. The kernel and our own initial RAM disk are files beside it.
func fromPackages(
	ctx context.Context, recipe image.Recipe, golden image.Golden, progress image.Progress,
) (root string, err error) {
	progress("packages", "")
	show := func(line string) { progress("packages", line) }
	if err := (debootstrap.Maker{}).Make(ctx, recipe, golden.Dir, show); err != nil {
		return "", err
	}
	kernel, ramdisk, err := initrd.FromRoot(golden.Tree())
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
	if err := disk.FromDirectory(ctx, golden.Tree(), golden.Disk(), recipe.Disk, "root"); err != nil {
		return "", err
	}
	if err := os.RemoveAll(golden.Tree()); err != nil {
		return "", fmt.Errorf("removing the root file system's directory: %w", err)
	}
	return "root=/dev/vda", nil
}

func (m Maker) fromCloudImage(
	ctx context.Context, recipe image.Recipe, golden image.Golden, progress image.Progress,
) error {
	var path string
	var err error
	switch kind := recipe.Source.Kind; kind {
	case image.HTTPS:
		progress("download", "")
		show := func(line string) { progress("download", line) }
		path, err = m.downloads(recipe).Fetch(ctx, recipe.Source, show)
	case image.Distribution:
		progress("download", "")
		show := func(line string) { progress("download", line) }
		path, err = source.Distributions{HTTPS: m.downloads(recipe)}.Fetch(ctx, recipe.Source, show)
	case image.Local:
		progress("image file", "")
		show := func(line string) { progress("image file", line) }
		path, err = source.Local{}.Fetch(ctx, recipe.Source, show)
	default:
		err = fmt.Errorf("image.source: no disk is made of %q here: write \"debootstrap\", "+
			"a distribution such as \"debian:13\", an https:// URL or the absolute path of a file", kind)
	}
	if err != nil {
		return err
	}
	progress("disk", "")
	return disk.ToRaw(ctx, path, golden.Disk(), recipe.Disk)
}

func (m Maker) downloads(recipe image.Recipe) source.HTTPS {
	return source.HTTPS{Dir: m.Downloads, Limit: disk.Largest(recipe.Disk)}
}

func writeSeed(ctx context.Context, recipe image.Recipe, path string) error {
	files := map[string]string{agentFile: recipe.Agent}
	if recipe.GitLabRunner != "" {
		files[runnerFile] = recipe.GitLabRunner
	}
	everyGuest := cloudinit.NetworkConfig{
		MAC: network.GuestMAC, Name: "eth0",
		Address: network.Guest, Gateway: network.Gateway, Nameserver: network.Gateway,
	}
	err := seed.Write(path, seed.Volume{
		UserData: userData(recipe),
		More:     recipe.UserData,
		MetaData: cloudinit.MetaData{InstanceID: "mayfly-" + recipe.Digest(), LocalHostname: "mayfly-prebuild"},
		Network:  &everyGuest,
		Files:    files,
	})
	if err != nil {
		return fmt.Errorf("making the seed volume: %w", err)
	}
	return context.Cause(ctx)
}
