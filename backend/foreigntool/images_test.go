package foreigntool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// names are the machines of a tool.
type names map[string]bool

func (n names) Exists(_ context.Context, name string) (bool, error) { return n[name], nil }

func (n names) Rename(_ context.Context, id, golden string) error {
	if !n[id] || n[golden] {
		return errors.New("there is nothing to rename, or the name is taken")
	}
	delete(n, id)
	n[golden] = true
	return nil
}

func (n names) Remove(_ context.Context, name string) error {
	delete(n, name)
	return nil
}

func (n names) all() []string {
	var all []string
	for name := range n {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// shop builds images of a tool that has nothing but names.
type shop struct {
	t      *testing.T
	tool   names
	images Images[Note]
	recipe image.Recipe
	golden string
	// built counts the prebuilds, which fail with failure.
	built   int
	failure error
}

func newShop(t *testing.T) *shop {
	dir := t.TempDir()
	options := Options{Pool: "p", WorkersDir: filepath.Join(dir, "workers"), ImagesDir: filepath.Join(dir, "images")}
	tool := names{"somebody-elses": true}
	recipe := image.Recipe{Source: image.Source{Kind: image.VM, Location: "base"}, User: "jobs"}
	images := Images[Note]{Options: options, Tool: tool, NoteFile: "tool.json", Destroy: tool.Remove}
	return &shop{t: t, tool: tool, images: images, recipe: recipe, golden: GoldenName(recipe.Digest())}
}

func (s *shop) build() (image.Golden, error) {
	prebuild := func(_ context.Context, p Prebuild) (Note, error) {
		s.built++
		require.DirExists(s.t, p.Dir)
		require.True(s.t, s.images.Owns(p.ID), "what a killed build leaves is found like a worker")
		s.tool[p.ID] = true
		return Note{OS: "plan9", Keys: remote.Keys{User: "jobs", Key: "secret"}}, s.failure
	}
	return s.images.Build(s.t.Context(), s.recipe, func(string, string) {}, prebuild)
}

func (s *shop) requireBuilt(times int) image.Golden {
	s.t.Helper()
	golden, err := s.build()
	require.NoError(s.t, err)
	require.Equal(s.t, times, s.built)
	require.Equal(s.t, []string{s.golden, "somebody-elses"}, s.tool.all())
	return golden
}

func TestImageIsBuiltUnlessMachineAndDirectoryAreThere(t *testing.T) {
	s := newShop(t)
	golden := s.requireBuilt(1)
	s.requireBuilt(1)
	note, err := s.images.Open(t.Context(), golden)
	require.NoError(t, err)
	require.Equal(t, Note{OS: "plan9", Keys: remote.Keys{User: "jobs", Key: "secret"}}, note)

	delete(s.tool, s.golden)
	s.requireBuilt(2)

	require.NoError(t, os.RemoveAll(golden.Dir))
	s.requireBuilt(3)
}

func TestImageWhoseMachineIsGoneIsNotOpened(t *testing.T) {
	s := newShop(t)
	golden := s.requireBuilt(1)
	delete(s.tool, s.golden)
	_, err := s.images.Open(t.Context(), golden)
	require.ErrorContains(t, err, "golden machine "+s.golden+" is gone")
	require.NoDirExists(t, golden.Dir, "for the pool to have it built again")
}

func TestFailedPrebuildLeavesNothing(t *testing.T) {
	s := newShop(t)
	s.failure = errors.New("no")
	_, err := s.build()
	require.ErrorIs(t, err, s.failure)
	require.Equal(t, []string{"somebody-elses"}, s.tool.all())
	entries, err := os.ReadDir(s.images.WorkersDir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
