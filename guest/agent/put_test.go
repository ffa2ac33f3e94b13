//go:build linux

package agent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestFilesArriveWhole(t *testing.T) {
	need.Root(t) // owners are changed
	client, root, _ := serve(t, &recorder{})
	for _, size := range []int{0, 1, guest.MaxChunk - 1, guest.MaxChunk, guest.MaxChunk + 1, 3*guest.MaxChunk + 7} {
		content := strings.Repeat("x", size)
		file := guest.File{Path: "/opt/new/file", Mode: 0o4750, Owner: "1234:root"}
		require.NoError(t, client.Put(t.Context(), file, strings.NewReader(content)))
		require.Equal(t, content, read(t, filepath.Join(root, file.Path)), "%d bytes", size)
		info, err := os.Stat(filepath.Join(root, file.Path))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o750)|os.ModeSetuid, info.Mode())
	}
	left, err := os.ReadDir(filepath.Join(root, "opt/new"))
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestFileThatFailsIsNotInItsPlace(t *testing.T) {
	client, root, _ := serve(t, &recorder{})
	lost := errors.New("lost")
	content := io.MultiReader(bytes.NewReader(make([]byte, 2*guest.MaxChunk)), iotest.ErrReader(lost))
	require.ErrorIs(t, client.Put(t.Context(), guest.File{Path: "/file", Mode: 0o600}, content), lost)
	require.NoFileExists(t, filepath.Join(root, "file"))
	err := client.Put(t.Context(), guest.File{Path: "/file", Owner: "nobody-of-this-name"}, strings.NewReader("x"))
	require.ErrorContains(t, err, "owner of /file")
	require.NoFileExists(t, filepath.Join(root, "file"))
}

func TestVariablesAreThoseOfCommandsAlone(t *testing.T) {
	client, _, _ := serve(t, &recorder{})
	require.NoError(t, client.Setenv(t.Context(), "TOKEN", "a b\n'c'"))
	require.NoError(t, client.Setenv(t.Context(), "HOME", "/elsewhere"))
	var said bytes.Buffer
	require.NoError(t, client.Run(t.Context(), `echo "$TOKEN $HOME $LANG"`, &said))
	require.Equal(t, "a b\n'c' /elsewhere C.UTF-8\n", said.String())
	require.NotContains(t, strings.Join(os.Environ(), "\n"), "/elsewhere")
}
