package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

type imageCommands struct {
	Build imageBuildCommand `cmd:"" help:"Build the image that the configuration asks for, and print its digest."`
	List  imageListCommand  `cmd:"" help:"List the images on this host."`
	Show  imageShowCommand  `cmd:"" help:"Print all that is known of an image."`
	Rm    imageRmCommand    `cmd:"" help:"Remove images, unless somebody uses them, and print their digests."`
	Prune imagePruneCommand `cmd:"" help:"Remove the images that nobody uses."`
	Shell imageShellCommand `cmd:"" help:"Work in a throw-away clone of the image; what is left can be saved."`
	Push  imagePushCommand  `cmd:"" help:"Send an image to a registry, for other hosts, and print its reference."`
	Pull  imagePullCommand  `cmd:"" help:"Bring an image that another host has pushed, and print its digest."`
}

type imageBuildCommand struct {
	configuration
	FromScratch bool `help:"Use no layer of an earlier build; replace them, and the image if nothing uses it."`
	KeepFailed  bool `help:"Keep what a build that fails has made, until the next build or gc, and say where."`
}

// Run builds with visible progress, and prints the digest.
func (c imageBuildCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, runner, err := c.load()
	if err != nil {
		return err
	}
	golden, _, err := h.BuildImage(ctx, settings, runner.Username,
		host.Building{FromScratch: c.FromScratch, KeepFailed: c.KeepFailed}, newProgress(s.err).report, s.log)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, golden.Digest)
	return err
}

type imageListCommand struct {
	configuration
	JSON bool `help:"Print one JSON document."`
}

// listedImage is what list says of one image to machines.
type listedImage struct {
	Digest       string       `json:"digest"`
	BuiltAt      time.Time    `json:"built_at"`
	BuiltSeconds float64      `json:"built_seconds"`
	Source       image.Source `json:"source"`
	Bytes        int64        `json:"bytes"`
	Kernel       string       `json:"kernel,omitempty"`
	// Edition tells images of one recipe from each other that were made at different
	// times.
	Edition string `json:"edition,omitempty"`
	// FailedRenewals say why pools serve it on that were to renew it.
	FailedRenewals []string `json:"failed_renewals,omitempty"`
}

// Run lists all images, and then says which could not be read.
func (c imageListCommand) Run(s *streams, h *host.Host) error {
	settings, _, err := c.load()
	if err != nil {
		return err
	}
	images, damaged := h.Images(settings.ImagesDir()).List()
	failed, unread := h.FailedRenewals(settings)
	damaged = errors.Join(damaged, unread)
	listed := []listedImage{}
	for _, golden := range images {
		one, err := listImage(golden)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a pool has removed it meanwhile
		}
		damaged = errors.Join(damaged, err)
		for _, f := range failed {
			if f.ImageDigest == golden.Digest {
				one.FailedRenewals = append(one.FailedRenewals, fmt.Sprintf("pool %s: %s", f.Pool, f.Failed))
			}
		}
		listed = append(listed, one)
	}
	if c.JSON {
		return errors.Join(s.document(listed), damaged)
	}
	return errors.Join(printImages(s, listed), damaged)
}

// listImage is what lists say of an image, as far as it can be read.
func listImage(golden image.Golden) (listedImage, error) {
	bytes, err := bytesOnDisk(golden.Dir)
	if err != nil {
		err = fmt.Errorf("measuring image %s: %w", golden.Digest, err)
	}
	kernel, unread := golden.KernelVersion()
	return listedImage{
		Digest: golden.Digest, BuiltAt: golden.BuiltAt, BuiltSeconds: golden.BuiltSeconds,
		Source: golden.Recipe.Source, Bytes: bytes, Kernel: kernel, Edition: golden.Recipe.Edition,
	}, errors.Join(err, unread)
}

func printImages(s *streams, images []listedImage) error {
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DIGEST\tBUILT\tTOOK\tON DISK\tKERNEL\tSOURCE")
	for _, i := range images {
		fmt.Fprintf(table, "%s\t%s\t%.0fs\t%d MiB\t%s\t%s\n",
			i.Digest, i.BuiltAt.Local().Format(time.DateTime), i.BuiltSeconds, i.Bytes>>20,
			cmp.Or(i.Kernel, "-"), describeSource(i.Source))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, i := range images {
		for _, why := range i.FailedRenewals {
			fmt.Fprintf(s.out, "image %s, %s\n", i.Digest, why)
		}
	}
	return nil
}

func describeSource(source image.Source) string {
	if public := source.Public(); public != "" {
		return public
	}
	return strings.TrimSpace(source.Kind + " " + source.Suite)
}

// bytesOnDisk is what a directory really takes, which for sparse disks is much
// less than the sizes of its files.
func bytesOnDisk(dir string) (int64, error) {
	var bytes int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			bytes += int64(stat.Blocks) * 512
		}
		return nil
	})
	return bytes, err
}
