//go:build linux

package process

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTagTellsWhoseACommandLineIs(t *testing.T) {
	const id, dir = "default-abcdefgh", "/var/lib/mayfly/pools/default/workers"
	for _, tag := range []Tag{
		{Option: "-name", Prefix: "mayfly:", WorkersDir: dir},
		{Option: "--log-file", WorkersDir: dir, Suffix: "/vmm.log"},
	} {
		for _, own := range [][]string{
			{"vmm", tag.Option, tag.Value(id), "-nodefaults"},
			{"vmm", tag.Option + "s", "other", tag.Option, tag.Value(id)},
		} {
			got, ours := tag.ID(own)
			require.True(t, ours)
			require.Equal(t, id, got)
		}
		other := tag
		other.WorkersDir += "2"
		for _, foreign := range [][]string{
			{},
			{"vmm", tag.Option},
			{"vmm", tag.Option, "somebody's"},
			{"vmm", tag.Option, other.Value(id)},
			{"vmm", tag.Option, tag.Value("../" + id)},
			{"vmm", tag.Option, tag.Value(id) + "x"},
			{"grep", tag.Value(id)},
		} {
			_, ours := tag.ID(foreign)
			require.False(t, ours, foreign)
		}
	}
}

func TestTagWhoseValueIsInTheSameArgument(t *testing.T) {
	tag := Tag{Option: "--directory=", WorkersDir: "/pool/workers", Suffix: "/root"}
	got, ours := tag.ID([]string{"systemd-nspawn", "--boot", tag.Option + tag.Value("p-aaaaaaaa"), "--quiet"})
	require.True(t, ours)
	require.Equal(t, "p-aaaaaaaa", got)
	for _, foreign := range [][]string{
		{"systemd-nspawn", tag.Option, tag.Value("p-aaaaaaaa")},
		{"systemd-nspawn", tag.Value("p-aaaaaaaa")},
		{"systemd-nspawn", tag.Option + "/pool/workers/p-aaaaaaaa"},
		{"systemd-nspawn", tag.Option},
	} {
		_, ours := tag.ID(foreign)
		require.False(t, ours, foreign)
	}
}

// startTagged starts a shell that starts nothing: its child would be tagged too,
// until it is another program. It runs when it has said so: just after it is
// started, the kernel shows no arguments of it.
func startTagged(t *testing.T, tag Tag, id string) *Process {
	t.Helper()
	said, say, err := os.Pipe()
	require.NoError(t, err)
	defer said.Close()
	p, err := Start(Command{Path: "/bin/sh", Arguments: []string{"-c", "echo runs >&3; kill -STOP $$", "-x", tag.Value(id)},
		Files: []*os.File{say}, Output: os.DevNull})
	require.NoError(t, errors.Join(err, say.Close()))
	t.Cleanup(func() { kill(t, p) })
	_, err = said.Read(make([]byte, 16))
	require.NoError(t, err)
	return p
}

func TestTaggedProcessesAreFoundAndKilled(t *testing.T) {
	tag := Tag{Option: "-x", WorkersDir: t.TempDir()}
	const one, other = "p-aaaaaaaa", "p-bbbbbbbb"
	var children []*Process
	for _, id := range []string{one, other} {
		children = append(children, startTagged(t, tag, id))
	}
	found, err := tag.Find("")
	require.NoError(t, err)
	require.Len(t, found, 2)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, tag.Kill(ctx, one))
	<-children[0].Done()
	require.NoError(t, children[1].Err())
	found, err = tag.Find("")
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, other, found[0].Worker)
}
