package prebuild

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

func TestSilentGuestEndsTheBuild(t *testing.T) {
	for silent, test := range map[string]struct {
		want  string
		after time.Duration
	}{
		"network":             {"the agent, which cloud-init starts", bootLimit},
		resultFile:            {"waiting for cloud-init", bootLimit},
		"read answer":         {"image.run[0]: read answer", image.StepLimit},
		"command -v":          {"checking for what jobs need", choreLimit},
		"ls -v vmlinuz":       {"finding the image's kernel", choreLimit},
		"fetch /boot/vmlinuz": {"fetching /boot/vmlinuz-6", choreLimit},
		"fetch /boot/initrd":  {"fetching /boot/initrd.img-6", choreLimit},
		"seal":                {"sealing the image", choreLimit},
		"poweroff":            {"powering the guest off", choreLimit},
	} {
		t.Run(silent, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuest()
				g.silent = silent
				began := time.Now()
				_, _, err := build(t, g, "read answer")
				require.ErrorContains(t, err, test.want)
				require.ErrorContains(t, err, "it took longer than "+test.after.String())
				require.Equal(t, test.after, time.Since(began))
			})
		})
	}
}

func TestEndlessAnswersEndTheBuild(t *testing.T) {
	for _, word := range []string{resultFile, "ls -v vmlinuz"} {
		g := newGuest()
		g.answers[word] = answer{output: strings.Repeat("x", answerLimit+1)}
		_, _, err := build(t, g)
		require.ErrorContains(t, err, "the guest sends more than")
		require.Less(t, len(err.Error()), 1000)
	}
}

func TestBoundedTakesAllUpToItsLimit(t *testing.T) {
	var got bytes.Buffer
	w := newBounded(&got, 4)
	for _, part := range []string{"ab", "cd"} {
		_, err := w.Write([]byte(part))
		require.NoError(t, err)
	}
	_, err := w.Write([]byte("e"))
	require.ErrorContains(t, err, "more than 4 bytes")
	require.Equal(t, "abcd", got.String())
}

// endlessFile is a guest whose files are all one byte too long. The bytes are
// never looked at, and so take no memory.
type endlessFile struct{ *fakeGuest }

func (endlessFile) Fetch(_ context.Context, _ string, output io.Writer) error {
	_, err := output.Write(make([]byte, fileLimit+1))
	return err
}

func TestEndlessFileEndsTheBuild(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kernel")
	err := fetch(t.Context(), endlessFile{newGuest()}, "/boot/vmlinuz", path)
	require.ErrorContains(t, err, "fetching /boot/vmlinuz")
	require.ErrorContains(t, err, "the guest sends more than")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Size())
}
