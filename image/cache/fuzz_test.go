package cache

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Nothing outside an image's own directory counts as a file of it.
func FuzzManifest(f *testing.F) {
	const digest = "0123456789abcdef0123456789abcdef"
	samples, err := filepath.Glob("testdata/*.json")
	require.NoError(f, err)
	for _, path := range samples {
		text, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add([]byte(`{"version":1,"digest":"` + digest + `","files":{"../../etc/passwd":1,"disk.raw":-1}}`))
	f.Add([]byte(`{"version":2,"digest":7}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		manifest, err := parseManifest(text, digest)
		if err != nil {
			return
		}
		require.Equal(t, image.ManifestVersion, manifest.Version)
		require.Equal(t, digest, manifest.Digest)
		if damage(image.Golden{Dir: t.TempDir(), Manifest: manifest}) == nil {
			require.Empty(t, manifest.Files, "an empty directory has none")
		}
	})
}
