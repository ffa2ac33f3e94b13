//go:build linux

package template

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

func basis(t *testing.T, digest string) Basis {
	t.Helper()
	golden := image.Golden{Manifest: image.Manifest{Digest: digest}}
	b, err := NewBasis(golden, backend.Size{CPUs: 1, Memory: 1 << 30}, "kvm", "/bin/sh")
	require.NoError(t, err)
	return b
}

func save(_ context.Context, t *Template) error {
	t.Format = "raw"
	return os.WriteFile(t.Memory(), nil, 0o600)
}

func TestAnotherBasisMeansAnotherTemplate(t *testing.T) {
	s := &Shelf{Dir: filepath.Join(t.TempDir(), "templates")}
	one, other := basis(t, "one"), basis(t, "other")
	_, ok := s.Load(one)
	require.False(t, ok)
	require.NoError(t, s.Prepare(t.Context(), one, nil, save))
	made, ok := s.Load(one)
	require.True(t, ok)
	require.Equal(t, "raw", made.Format)
	require.FileExists(t, made.Memory())

	require.NoError(t,
		s.Prepare(t.Context(), one, nil, func(context.Context, *Template) error { panic("it is there") }))
	require.NoError(t, s.Prepare(t.Context(), other, nil, save))
	require.NoDirExists(t, made.Dir)
	_, ok = s.Load(other)
	require.True(t, ok)
	for _, change := range []func(*Basis){
		func(b *Basis) { b.Accel = "tcg" }, func(b *Basis) { b.Size.CPUs++ }, func(b *Basis) { b.Host += "x" },
		func(b *Basis) { b.CPU += "x" }, func(b *Basis) { b.Binary += "x" }, func(b *Basis) { b.Changed = b.Changed.Add(1) }, func(b *Basis) { b.More = "x" },
	} {
		changed := other
		change(&changed)
		_, ok := s.Load(changed)
		require.False(t, ok, changed)
	}
}

func TestFailedTemplateLeavesNothing(t *testing.T) {
	s := &Shelf{Dir: t.TempDir()}
	reason := errors.New("the machine hangs")
	require.NoError(t, os.Mkdir(filepath.Join(s.Dir, ".making-killed"), 0o700))
	err := s.Prepare(t.Context(), basis(t, "one"), nil, func(context.Context, *Template) error { return reason })
	require.ErrorIs(t, err, reason)
	entries, err := os.ReadDir(s.Dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing but the lock")
}

func TestAWrongClockIsMendedByAnotherBoot(t *testing.T) {
	s := &Shelf{Dir: t.TempDir()}
	boots := 0
	err := s.Prepare(t.Context(), basis(t, "one"), nil, func(ctx context.Context, made *Template) error {
		boots++
		if boots < mostBoots {
			return fmt.Errorf("waiting: %w", errClock)
		}
		return save(ctx, made)
	})
	require.NoError(t, err)
	_, ok := s.Load(basis(t, "one"))
	require.True(t, ok)
	entries, err := os.ReadDir(s.Dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "the lock and the template, and nothing of those before")

	boots = 0
	err = s.Prepare(t.Context(), basis(t, "other"), nil,
		func(context.Context, *Template) error { boots++; return errClock })
	require.ErrorIs(t, err, errClock)
	require.Equal(t, mostBoots, boots, "and then the pool tries again later")
}

func TestTwoFailedForksInARowTakeATemplateOutOfUse(t *testing.T) {
	s := &Shelf{Dir: t.TempDir()}
	wanted := basis(t, "one")
	require.NoError(t, s.Prepare(t.Context(), wanted, nil, save))
	made, _ := s.Load(wanted)
	other := basis(t, "other")
	require.NoError(t, s.Prepare(t.Context(), other, []string{wanted.Golden}, save))
	beside, _ := s.Load(other)
	require.NoError(t, s.Failed(made))
	s.Worked(made)
	require.NoError(t, s.Failed(made))
	require.NoError(t, s.Failed(beside), "each template has its own")
	_, ok := s.Load(other)
	require.True(t, ok)
	_, ok = s.Load(wanted)
	require.True(t, ok)
	require.NoError(t, s.Failed(made))
	_, ok = s.Load(wanted)
	require.False(t, ok)
	require.NoError(t, s.Prepare(t.Context(), wanted, nil, save), "and it is made anew")
	_, ok = s.Load(wanted)
	require.True(t, ok)
	require.NoError(t, s.Clear())
	require.NoDirExists(t, made.Dir)
}

func TestABinaryThatIsMissingIsNamed(t *testing.T) {
	_, err := NewBasis(image.Golden{}, backend.Size{}, "kvm", "no-such-monitor")
	require.ErrorContains(t, err, "no-such-monitor")
}

func TestSavedMemoryFitsWhereItWasSaved(t *testing.T) {
	here, err := NewPlatform("tcg", "/bin/sh")
	require.NoError(t, err)
	require.NoError(t, here.FitsHere("/bin/sh"))
	require.ErrorContains(t, here.FitsHere("/bin/cat"), "another program")
	require.Error(t, here.FitsHere("/nowhere/qemu"))
	for _, change := range []func(*Platform){
		func(p *Platform) { p.CPU = "another model" },
		func(p *Platform) { p.Changed = p.Changed.Add(1) },
	} {
		other := here
		change(&other)
		require.ErrorContains(t, other.FitsHere("/bin/sh"), "another processor")
	}
}

// TestATemplateIsMadeBesideTheOneThatIsForked has a pool go over from one golden image to
// another, also when the first try fails.
func TestATemplateIsMadeBesideTheOneThatIsForked(t *testing.T) {
	s := &Shelf{Dir: filepath.Join(t.TempDir(), "templates")}
	former, newer, stale := basis(t, "former"), basis(t, "newer"), basis(t, "former")
	stale.Host = "another kernel"
	require.NoError(t, s.Prepare(t.Context(), stale, nil, save))
	require.NoError(t, s.Prepare(t.Context(), former, []string{"former"}, save))
	_, there := s.Load(stale)
	require.False(t, there, "it is of the same image, and valid no more")
	reason := errors.New("the machine hangs")
	beside := func(t *testing.T) {
		t.Helper()
		_, there := s.Load(former)
		require.True(t, there)
	}
	err := s.Prepare(t.Context(), newer, []string{"former", "newer"}, func(context.Context, *Template) error {
		beside(t)
		return reason
	})
	require.ErrorIs(t, err, reason)
	beside(t)
	entries, err := os.ReadDir(s.Dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "the lock and the former template")

	require.NoError(t, s.Prepare(t.Context(), newer, []string{"former", "newer"}, save))
	beside(t)
	goldens, err := s.Goldens()
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"former", "newer"}, goldens)
	require.NoError(t, s.Prepare(t.Context(), newer, []string{"newer"}, nil))
	goldens, err = s.Goldens()
	require.NoError(t, err)
	require.Equal(t, []string{"newer"}, goldens)
}
