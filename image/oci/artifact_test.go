//go:build linux

package oci

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// described is a description that is right, of an image with a disk and a kernel.
func described(form string) description {
	r := recipe("trixie")
	r.Form, r.Disk = form, 100
	d := description{
		Version: descriptionVersion, Architecture: runtime.GOARCH,
		Image: image.Manifest{Version: 1, Digest: r.Digest(), Recipe: r, Root: "root=/dev/vda"},
		Parts: []part{
			{Name: image.DiskFile, Size: 100, Chunks: []chunk{
				{At: 0, Size: 10, SHA256: strings.Repeat("a", 64), Layer: 0},
				{At: 50, Size: 10, SHA256: strings.Repeat("a", 64), Layer: 0},
				{At: 90, Size: 10, SHA256: strings.Repeat("b", 64), Layer: 1},
			}},
			{Name: image.KernelFile, Size: 10}, {Name: image.InitrdFile, Size: 10},
		},
	}
	if form != image.Disk {
		d.Parts = []part{d.Parts[0], {Name: treePart, Size: 10}}
	}
	return d
}

func parsed(t *testing.T, d description) error {
	t.Helper()
	text, err := json.Marshal(d)
	require.NoError(t, err)
	_, err = parseDescription(text, 2)
	return err
}

func TestDescriptionIsHeldToItsBounds(t *testing.T) {
	require.NoError(t, parsed(t, described(image.Disk)))
	require.NoError(t, parsed(t, described(image.Tree)))
	require.NoError(t, parsed(t, described(image.ShiftedTree)))
	first := func(change func(*chunk)) func(*description) {
		return func(d *description) { change(&d.Parts[0].Chunks[1]) }
	}
	recipeOf := func(change func(*image.Manifest)) func(*description) {
		return func(d *description) { change(&d.Image); d.Image.Digest = d.Image.Recipe.Digest() }
	}
	for name, c := range map[string]struct {
		change func(*description)
		want   string
	}{
		"newer":             {func(d *description) { d.Version = 2 }, "has version 2 and this program knows 1"},
		"architecture":      {func(d *description) { d.Architecture = "riscv64" }, `it is for "riscv64"`},
		"digest":            {func(d *description) { d.Image.Digest = "0" }, "not that of its recipe"},
		"recipe":            {func(d *description) { d.Image.Recipe.User = "root" }, "not that of its recipe"},
		"form":              {recipeOf(func(m *image.Manifest) { m.Recipe.Form = "x" }), "which nobody knows"},
		"user":              {recipeOf(func(m *image.Manifest) { m.Recipe.User = "a b" }), "not a valid name"},
		"root":              {func(d *description) { d.Image.Root = "root=\n" }, "no arguments for a kernel"},
		"escape":            {recipeOf(func(m *image.Manifest) { m.Recipe.Source.Suite = "\x1b[2J" }), "nothing that"},
		"part":              {func(d *description) { d.Parts[0].Name = "../x" }, "is no part"},
		"part twice":        {func(d *description) { d.Parts[1] = d.Parts[0] }, "is there twice"},
		"no kernel":         {func(d *description) { d.Parts = d.Parts[:1] }, "it has no kernel"},
		"tree of a disk":    {func(d *description) { d.Parts = append(d.Parts, part{Name: treePart}) }, "a root.tar"},
		"disk size":         {func(d *description) { d.Parts[0].Size = 101 }, "it says that it has"},
		"kernel size":       {func(d *description) { d.Parts[1].Size = maxKernel + 1 }, "it says that it has"},
		"negative size":     {func(d *description) { d.Parts[1].Size = -1 }, "it says that it has"},
		"overlap":           {first(func(c *chunk) { c.At = 9 }), "not in its place"},
		"behind the end":    {first(func(c *chunk) { c.At = 91 }), "not in its place"},
		"far behind":        {first(func(c *chunk) { c.At = 1<<63 - 1 }), "not in its place"},
		"empty chunk":       {first(func(c *chunk) { c.Size = 0 }), "not in its place"},
		"large chunk":       {first(func(c *chunk) { c.Size = maxChunk + 1 }), "not in its place"},
		"no digest":         {first(func(c *chunk) { c.SHA256 = "A" }), "is no SHA-256"},
		"no layer":          {first(func(c *chunk) { c.Layer = 2 }), "in layer 2, which is not there"},
		"negative layer":    {first(func(c *chunk) { c.Layer = -1 }), "in layer -1"},
		"layer as two":      {first(func(c *chunk) { c.SHA256 = strings.Repeat("c", 64) }), "two different chunks"},
		"layer of two size": {first(func(c *chunk) { c.Size = 9 }), "two different chunks"},
	} {
		t.Run(name, func(t *testing.T) {
			d := described(image.Disk)
			c.change(&d)
			require.ErrorContains(t, parsed(t, d), c.want)
		})
	}
	text, err := json.Marshal(described(image.Disk))
	require.NoError(t, err)
	_, err = parseDescription(append(text, "{}"...), 2)
	require.ErrorContains(t, err, "after top-level value")
	_, err = parseDescription([]byte(strings.Replace(string(text), `"user"`, `"users"`, 1)), 2)
	require.ErrorContains(t, err, "another version of this program")
}

func TestManifestIsHeldToItsBounds(t *testing.T) {
	blob := func(kind string) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: kind, Digest: digest.FromString(kind), Size: 1}
	}
	right := func() ocispec.Manifest {
		return ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: ArtifactType,
			Config: blob(configType), Layers: []ocispec.Descriptor{blob(chunkType)}}
	}
	for name, c := range map[string]struct {
		change func(*ocispec.Manifest)
		want   string
	}{
		"right":       {func(*ocispec.Manifest) {}, ""},
		"image":       {func(m *ocispec.Manifest) { m.ArtifactType = "application/vnd.tart" }, "no golden image"},
		"index":       {func(m *ocispec.Manifest) { m.MediaType = ocispec.MediaTypeImageIndex }, "no golden image"},
		"config":      {func(m *ocispec.Manifest) { m.Config.Size = maxDescription + 1 }, "its config"},
		"layer type":  {func(m *ocispec.Manifest) { m.Layers[0].MediaType = "x" }, "and no chunk"},
		"layer size":  {func(m *ocispec.Manifest) { m.Layers[0].Size = maxPacked + 1 }, "its layer 0"},
		"layer empty": {func(m *ocispec.Manifest) { m.Layers[0].Size = 0 }, "its layer 0"},
		"algorithm":   {func(m *ocispec.Manifest) { m.Layers[0].Digest = digest.SHA512.FromString("") }, "no SHA-256"},
		"many":        {func(m *ocispec.Manifest) { m.Layers = make([]ocispec.Descriptor, maxLayers+1) }, "than 20000"},
	} {
		t.Run(name, func(t *testing.T) {
			m := right()
			c.change(&m)
			text, err := json.Marshal(m)
			require.NoError(t, err)
			_, err = parseManifest(text)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

// What is taken keeps its promises, whatever a registry says.
func FuzzDescription(f *testing.F) {
	for _, form := range []string{image.Disk, image.Tree} {
		text, err := json.Marshal(described(form))
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := parseDescription(text, 2)
		if err != nil {
			return
		}
		for _, p := range d.Parts {
			end := int64(0)
			for _, c := range p.Chunks {
				if c.At < end || c.At+c.Size > p.Size || c.Size > maxChunk || c.Layer > 1 {
					t.Fatalf("%+v in %+v", c, p)
				}
				end = c.At + c.Size
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	text, err := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: ArtifactType,
		Config: ocispec.Descriptor{MediaType: configType, Digest: digest.FromString(""), Size: 1}})
	require.NoError(f, err)
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text)
		if err != nil {
			return
		}
		for _, layer := range m.Layers {
			if layer.Size > maxPacked || layer.Digest.Validate() != nil {
				t.Fatalf("%+v", layer)
			}
		}
	})
}
