//go:build linux

package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Media types of an artifact: of the whole, of its config, which is a description, and
// of its layers, which are chunks, each compressed with zstd by itself.
const (
	ArtifactType = "application/vnd.mayfly.golden.v1"
	configType   = "application/vnd.mayfly.golden.config.v1+json"
	chunkType    = "application/vnd.mayfly.golden.chunk.v1+zstd"
)

// descriptionVersion is the version of description that this program writes and reads.
const descriptionVersion = 1

// description says what the chunks are chunks of.
type description struct {
	Version      int    `json:"version"`
	Architecture string `json:"architecture"`
	// Image is the manifest of the golden image where it was built.
	Image image.Manifest `json:"image"`
	Parts []part         `json:"parts"`
}

// part is one file of the golden image. What no chunk covers is a hole.
type part struct {
	Name   string  `json:"name"`
	Size   int64   `json:"size"`
	Chunks []chunk `json:"chunks"`
}

// chunk is a stretch of a part.
type chunk struct {
	At   int64 `json:"at"`
	Size int64 `json:"size"`
	// SHA256 is of the content, in hexadecimal, and Layer the index of the layer that
	// it is in.
	SHA256 string `json:"sha256"`
	Layer  int    `json:"layer"`
}

// data is how many bytes of the part are no holes.
func (p part) data() (bytes int64) {
	for _, c := range p.Chunks {
		bytes += c.Size
	}
	return bytes
}

// treePart is the part that a tree is in, as a tar file.
const treePart = image.TreeDir + ".tar"

// partNames are all that an artifact may have, in their order.
var partNames = []string{image.DiskFile, image.KernelFile, image.InitrdFile, treePart}

// Bounds of what a registry may say.
const (
	maxManifest    = 4 << 20 // what registries take
	maxDescription = 16 << 20
	maxLayers      = 20000 // which fit into maxManifest
	maxChunks      = 1 << 20
	maxKernel      = 1 << 30
	maxTree        = 1 << 40
	// maxPacked is what zstd makes of a chunk at worst.
	maxPacked = maxChunk + maxChunk/64 + 1024
	// maxRoot bounds the kernel's arguments for the root file system.
	maxRoot = 512
)

// artifact is what a registry has said, after it was checked.
type artifact struct {
	digest digest.Digest
	layers []ocispec.Descriptor
	description
	// config is the description as it came.
	config []byte
}

// parseManifest checks the manifest of an artifact. That it has the digest that it was
// asked for by is the caller's to check.
func parseManifest(text []byte) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("reading its manifest: %w", err)
	}
	if m.MediaType != ocispec.MediaTypeImageManifest || m.ArtifactType != ArtifactType ||
		m.Config.MediaType != configType {
		return m, fmt.Errorf("it is no golden image of ours, but %.100q: push one with `image push`", kindOf(m))
	}
	if err := checkDescriptor(m.Config, maxDescription); err != nil {
		return m, fmt.Errorf("its config: %w", err)
	}
	if len(m.Layers) > maxLayers {
		return m, fmt.Errorf("its manifest has %d layers, more than %d", len(m.Layers), maxLayers)
	}
	for i, layer := range m.Layers {
		if layer.MediaType != chunkType {
			return m, fmt.Errorf("its layer %d is %.100q, and no chunk", i, layer.MediaType)
		}
		if err := checkDescriptor(layer, maxPacked); err != nil {
			return m, fmt.Errorf("its layer %d: %w", i, err)
		}
	}
	return m, nil
}

func kindOf(m ocispec.Manifest) string {
	for _, kind := range []string{m.ArtifactType, m.Config.MediaType, m.MediaType} {
		if kind != "" {
			return kind
		}
	}
	return "a manifest without a type"
}

func checkDescriptor(d ocispec.Descriptor, most int64) error {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 {
		return fmt.Errorf("%.100q is no SHA-256", d.Digest)
	}
	if d.Size < 1 || d.Size > most {
		return fmt.Errorf("it says that it has %d bytes, and may have 1 to %d", d.Size, most)
	}
	return nil
}

// parseDescription checks the config of an artifact that has so many layers.
func parseDescription(text []byte, layers int) (description, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return description{}, fmt.Errorf("reading its config: %w", err)
	}
	if head.Version != descriptionVersion {
		return description{}, fmt.Errorf("its config has version %d and this program knows %d: "+
			"use the same program on all hosts", head.Version, descriptionVersion)
	}
	var d description
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return description{}, fmt.Errorf("reading its config, which another version of this program has made: %w", err)
	}
	if err := d.check(layers); err != nil {
		return description{}, err
	}
	return d, nil
}

func (d description) check(layers int) error {
	if d.Architecture != runtime.GOARCH {
		return fmt.Errorf("it is for %.20q and this host is %q", d.Architecture, runtime.GOARCH)
	}
	if err := checkImage(d.Image); err != nil {
		return err
	}
	last, count, contents := -1, 0, make(map[int]chunk)
	for _, p := range d.Parts {
		i := slices.Index(partNames, p.Name)
		if i <= last {
			return fmt.Errorf("%.100q is no part, is not in its place, or is there twice", p.Name)
		}
		last = i
		if count += len(p.Chunks); count > maxChunks {
			return fmt.Errorf("it has more than %d chunks", maxChunks)
		}
		if err := p.check(layers, d.Image.Recipe.Disk, contents); err != nil {
			return fmt.Errorf("its %s: %w", p.Name, err)
		}
	}
	return d.checkForm()
}

// checkForm compares the parts with those that an image of its form has.
func (d description) checkForm() error {
	has := func(name string) bool {
		return slices.ContainsFunc(d.Parts, func(p part) bool { return p.Name == name })
	}
	needed, refused := []string{image.DiskFile, image.KernelFile, image.InitrdFile}, treePart
	if form := d.Image.Recipe.Form; form == image.Tree || form == image.ShiftedTree {
		needed, refused = []string{image.DiskFile, treePart}, image.KernelFile
	}
	for _, name := range needed {
		if !has(name) {
			return fmt.Errorf("it has no %s", name)
		}
	}
	if has(refused) {
		return fmt.Errorf("it has a %s, which an image of form %q has not", refused, d.Image.Recipe.Form)
	}
	return nil
}

var contentDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// check looks at one part of an image for a disk of so many bytes. The same layer has the
// same content in all parts.
func (p part) check(layers int, disk int64, contents map[int]chunk) error {
	most := map[string]int64{image.DiskFile: disk, treePart: maxTree}[p.Name]
	if most == 0 {
		most = maxKernel
	}
	if p.Size < 0 || p.Size > most || p.Name == image.DiskFile && p.Size != disk {
		return fmt.Errorf("it says that it has %d bytes, and may have %d", p.Size, most)
	}
	end := int64(0)
	for _, c := range p.Chunks {
		switch known, used := contents[c.Layer]; {
		case c.At < end, c.Size < 1, c.Size > maxChunk, c.At > p.Size-c.Size:
			return fmt.Errorf("its chunk of %d bytes at %d is not in its place", c.Size, c.At)
		case !contentDigest.MatchString(c.SHA256):
			return fmt.Errorf("%.100q is no SHA-256", c.SHA256)
		case c.Layer < 0 || c.Layer >= layers:
			return fmt.Errorf("its chunk at %d is in layer %d, which is not there", c.At, c.Layer)
		case used && (known.SHA256 != c.SHA256 || known.Size != c.Size):
			return fmt.Errorf("layer %d is two different chunks", c.Layer)
		}
		contents[c.Layer], end = c, c.At+c.Size
	}
	return nil
}

// checkImage looks at what is printed, started with, or made a path of.
func checkImage(m image.Manifest) error {
	r := m.Recipe
	if m.Digest != r.Digest() {
		return errors.New("its digest is not that of its recipe: " +
			"it was changed, or made by another version of this program")
	}
	if !slices.Contains([]string{image.Disk, image.Tree, image.ShiftedTree}, r.Form) {
		return fmt.Errorf("it has the form %.100q, which nobody knows", r.Form)
	}
	if !guest.ValidUser(r.User) {
		return fmt.Errorf("its user %.100q is not a valid name", r.User)
	}
	if len(m.Root) > maxRoot || strings.ContainsFunc(m.Root, func(c rune) bool { return c < ' ' || c > '~' }) {
		return fmt.Errorf("%.100q are no arguments for a kernel", m.Root)
	}
	for _, text := range slices.Concat(r.Packages, []string{r.Source.Kind, r.Source.Location, r.Source.Suite}) {
		if strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("%.100q is nothing that a recipe may have", text)
		}
	}
	return nil
}
