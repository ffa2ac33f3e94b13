package bhyve

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
)

// TestArguments compares every command line with a file, one argument a line.
// UPDATE=1 writes them anew.
func TestArguments(t *testing.T) {
	size := backend.Size{CPUs: 4, Memory: 8 << 30}
	for name, got := range map[string][]string{
		"create":   createArguments("p-aaaaaaaa", "default", "mayfly-0.img", "/srv/login.pub", size, 20<<30),
		"clone":    cloneArguments("mayfly-0", snapshotName, "p-aaaaaaaa"),
		"sysrc":    sysrcArguments("/vm/p-aaaaaaaa/p-aaaaaaaa.conf", macOf("p-aaaaaaaa"), size),
		"poweroff": powerOffArguments("p-aaaaaaaa"),
		"destroy":  destroyArguments("p-aaaaaaaa"),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "arguments", name)
			text := strings.Join(got, "\n") + "\n"
			if os.Getenv("UPDATE") != "" {
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), text)
		})
	}
}

func TestMACsAreOurOwnAndDiffer(t *testing.T) {
	a := hardware(macOf("p-aaaaaaaa"))
	require.Len(t, a, 6)
	require.EqualValues(t, 2, a[0]&3, "locally administered, and of one machine")
	require.NotEqual(t, macOf("p-aaaaaaaa"), macOf("p-aaaaaaab"))
}

func TestImportName(t *testing.T) {
	for file, want := range map[string]string{
		"/a/b.raw": "mayfly-0.img", "https://example.org/b.raw.xz": "mayfly-0.img.xz",
		"/a/b.qcow2.gz": "mayfly-0.img.gz",
	} {
		before, after, err := importName("0", file)
		require.NoError(t, err)
		require.Equal(t, want, before)
		require.Equal(t, "mayfly-0.img", after)
	}
	_, _, err := importName("0", "/a/b.tar.gz")
	require.ErrorContains(t, err, "image.source")
}
