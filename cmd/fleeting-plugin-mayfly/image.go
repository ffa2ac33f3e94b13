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
}

type imageBuildCommand struct {
	configuration
	FromScratch bool `help:"Use no layer of an earlier build, and replace those of this image, and the image if nothing uses it."`
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
	listed := make([]listedImage, len(images))
	for i, golden := range images {
		bytes, err := bytesOnDisk(golden.Dir)
		if err != nil {
			return fmt.Errorf("measuring image %s: %w", golden.Digest, err)
		}
		kernel, err := golden.KernelVersion()
		if err != nil {
			return err
		}
		listed[i] = listedImage{
			Digest: golden.Digest, BuiltAt: golden.BuiltAt, BuiltSeconds: golden.BuiltSeconds,
			Source: golden.Recipe.Source, Bytes: bytes, Edition: golden.Recipe.Edition,
			Kernel: kernel,
		}
		for _, f := range failed {
			if f.ImageDigest == golden.Digest {
				listed[i].FailedRenewals = append(listed[i].FailedRenewals, fmt.Sprintf("pool %s: %s", f.Pool, f.Failed))
			}
		}
	}
	if c.JSON {
		return errors.Join(s.document(listed), damaged)
	}
	return errors.Join(printImages(s, listed), damaged)
}

func printImages(s *streams, images []listedImage) error {
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DIGEST\tBUILT\tTOOK\tON DISK\tKERNEL\tSOURCE")
	for _, i := range images {
		source := i.Source.Public()
		if source == "" {
			source = strings.TrimSpace(i.Source.Kind + " " + i.Source.Suite)
		}
		fmt.Fprintf(table, "%s\t%s\t%.0fs\t%d MiB\t%s\t%s\n",
			i.Digest, i.BuiltAt.Local().Format(time.DateTime), i.BuiltSeconds, i.Bytes>>20,
			cmp.Or(i.Kernel, "-"), source)
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
