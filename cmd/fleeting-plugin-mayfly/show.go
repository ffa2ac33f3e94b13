package main

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
)

type imageShowCommand struct {
	configuration
	Digest string `arg:"" name:"DIGEST" help:"The image, by its digest or the beginning of it."`
	JSON   bool   `help:"Print one JSON document."`
}

// shownImage is what show says of an image to machines.
type shownImage struct {
	listedImage
	Recipe  image.Recipe     `json:"recipe"`
	Steps   []image.Step     `json:"steps,omitempty"`
	Files   map[string]int64 `json:"files"`
	Unique  int64            `json:"unique_bytes"`
	LastUse time.Time        `json:"last_use"`
	Users   []string         `json:"users"`
	Origin  *image.Origin    `json:"origin,omitempty"`
}

// Run prints all that is known of an image.
func (c imageShowCommand) Run(s *streams, h *host.Host) error {
	settings, _, err := c.load()
	if err != nil {
		return err
	}
	golden, err := findImage(h.Images(settings.ImagesDir()), c.Digest)
	if err != nil {
		return err
	}
	facts, err := h.LookAtImage(settings, golden)
	if err != nil {
		return err
	}
	listed, err := listImage(golden)
	if err != nil {
		return err
	}
	golden.Recipe.Proxy = withoutPassword(golden.Recipe.Proxy)
	shown := shownImage{
		listedImage: listed, Steps: golden.Steps,
		Recipe: golden.Recipe, Files: golden.Files,
		Unique: facts.Unique, LastUse: facts.LastUse.UTC(), Users: facts.Users,
	}
	if facts.Origin.Artifact != "" {
		shown.Origin = &facts.Origin
	}
	if c.JSON {
		return s.document(shown)
	}
	return printImage(s, shown)
}

// printImage prints one fact on a line. What came from elsewhere is made fit to be
// printed.
func printImage(s *streams, i shownImage) error {
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, lines.Printable(text))
		}
	}
	row("digest", i.Digest)
	row("source", describeSource(i.Source))
	row("packages", strings.Join(i.Recipe.Packages, " "))
	row("edition", i.Edition)
	row("kernel", i.Kernel)
	for _, step := range i.Recipe.Parts()[1:] {
		row(step.Name, step.Command)
	}
	for _, step := range i.Steps {
		took := fmt.Sprintf("%.1f s", step.Seconds)
		if step.Cached {
			took += ", from a layer"
		}
		row("time of "+step.Name, took)
	}
	row("user", i.Recipe.User)
	row("form", i.Recipe.Form)
	for _, name := range slices.Sorted(maps.Keys(i.Files)) {
		row(name, fmt.Sprintf("%d MiB", i.Files[name]>>20))
	}
	row("on disk", fmt.Sprintf("%d MiB, of which %d MiB are its own", i.Bytes>>20, i.Unique>>20))
	row("built", fmt.Sprintf("%s, %s ago, in %.0f s", i.BuiltAt.Local().Format(time.DateTime),
		time.Since(i.BuiltAt).Round(time.Minute), i.BuiltSeconds))
	row("last use", i.LastUse.Local().Format(time.DateTime))
	if i.Origin != nil {
		row("artifact", i.Origin.Artifact)
		for _, reference := range slices.Sorted(maps.Keys(i.Origin.References)) {
			row("reference", reference+", "+i.Origin.References[reference].Local().Format(time.DateTime))
		}
		row("verified by", i.Origin.Signer)
	}
	row("used by", strings.Join(i.Users, ", "))
	return table.Flush()
}

// withoutPassword is a URL without its user and password, for people.
func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	u.User = nil
	return u.String()
}

type imageRmCommand struct {
	configuration
	Digests []string `arg:"" name:"DIGEST" help:"Images, each by its digest or the beginning of it."`
}

// Run removes images, and fails for those that somebody uses.
func (c imageRmCommand) Run(s *streams, h *host.Host) error {
	settings, _, err := c.load()
	if err != nil {
		return err
	}
	for _, digest := range c.Digests {
		golden, err := findImage(h.Images(settings.ImagesDir()), digest)
		if err != nil {
			return err
		}
		if err := h.RemoveImage(settings, golden); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(s.out, golden.Digest); err != nil {
			return err
		}
	}
	return nil
}

type imagePruneCommand struct {
	configuration
	DryRun bool `name:"dry-run" help:"List what would be removed, and remove nothing."`
}

// Run removes the images that nobody uses, and says what that frees.
func (c imagePruneCommand) Run(s *streams, h *host.Host) error {
	settings, _, err := c.load()
	if err != nil {
		return err
	}
	gone, err := h.PruneImages(settings, c.DryRun)
	for _, one := range gone {
		fmt.Fprintf(s.out, "%s, %d MiB\n", one.What, one.Bytes>>20)
	}
	return err
}
