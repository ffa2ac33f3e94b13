//go:build linux

package template

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func TestWhatKilledMakersLeftMayGo(t *testing.T) {
	s := &Shelf{Dir: filepath.Join(t.TempDir(), "templates")}
	found, err := s.Unfinished()
	require.NoError(t, err)
	require.Empty(t, found)
	require.NoDirExists(t, s.Dir, "looking makes nothing")

	require.NoError(t, s.Prepare(t.Context(), basis(t, "one"), nil, save))
	left := filepath.Join(s.Dir, making+"left")
	require.NoError(t, os.MkdirAll(filepath.Join(s.Dir, "discarded"), 0o700))
	require.NoError(t, os.Mkdir(left, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(left, memoryFile), []byte("half"), 0o600))
	goldens, err := s.Goldens()
	require.NoError(t, err)
	require.Equal(t, []string{"one"}, goldens)

	lock, err := filelock.TryAcquire(filepath.Join(s.Dir, lockFile))
	require.NoError(t, err)
	found, err = s.Unfinished()
	require.NoError(t, err)
	require.Empty(t, found, "one is being made")
	require.NoError(t, lock.Release())
	found, err = s.Unfinished()
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.Contains(t, found[0].What, left)
	for _, l := range found {
		removed, err := l.Remove()
		require.NoError(t, err)
		require.True(t, removed)
	}
	_, ok := s.Load(basis(t, "one"))
	require.True(t, ok)
	found, err = s.Unfinished()
	require.NoError(t, err)
	require.Empty(t, found)

	file := filepath.Join(s.Dir, basis(t, "one").Key(), templateFile)
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	_, err = s.Goldens()
	require.ErrorContains(t, err, "reading template", "who knows what it needs")
	require.NoError(t, os.Remove(file))
	require.NoError(t, unix.Mkfifo(file, 0o600))
	_, err = s.Goldens()
	require.ErrorContains(t, err, file+" is a pipe")
}

// TestTemplateOnAFullDisk has a maker that is told, and one whose program is killed
// without a word, as QEMU is when its memory's file cannot grow.
func TestTemplateOnAFullDisk(t *testing.T) {
	d := sandbox.NewDisk(t, 32<<20)
	s := &Shelf{Dir: filepath.Join(d.Dir, "templates")}
	large := func(_ context.Context, t *Template) error {
		return os.WriteFile(t.Memory(), make([]byte, 8<<20), 0o600)
	}
	killed := func(ctx context.Context, t *Template) error {
		if large(ctx, t) != nil {
			return errors.New("signal: bus error")
		}
		return nil
	}
	require.NoError(t, s.Prepare(t.Context(), basis(t, "one"), nil, save))
	d.Fill(2 << 20)
	before := d.Free()
	require.NoError(t, s.Prepare(t.Context(), basis(t, "one"), nil, large), "the one that is there is not made anew")
	_, ok := s.Load(basis(t, "one"))
	require.True(t, ok)
	for _, save := range []func(context.Context, *Template) error{large, killed} {
		err := s.Prepare(t.Context(), basis(t, "other"), nil, save)
		require.ErrorContains(t, err, "the file system of "+s.Dir)
		require.True(t, diskspace.IsFull(err))
		require.GreaterOrEqual(t, d.Free(), before, "the half template is gone")
	}
	d.Empty()
	require.NoError(t, s.Prepare(t.Context(), basis(t, "other"), nil, killed))
}
