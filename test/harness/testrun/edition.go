package testrun

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Seldom is an image.refresh whose period does not end while a test runs.
const Seldom = "8784h"

// Refreshed asks for the golden image as the plugin is asked, and to have it renewed
// seldom, when its first worker has passed the checks. No image is kept that nobody uses.
// The plugin that is started after it has what a build needs in its environment.
func Refreshed(t testing.TB, check ...string) map[string]any {
	t.Helper()
	t.Setenv(SecretVariable, Secret)
	asked := InputsJSON()
	asked["refresh"], asked["keep"], asked["check"] = Seldom, "0s", check
	return asked
}

// Present is the edition that an image has now that is renewed seldom.
func Present(t testing.TB) string {
	t.Helper()
	every, err := time.ParseDuration(Seldom)
	require.NoError(t, err)
	return image.Refresh{Every: every}.Edition(time.Now())
}

// Edition puts another edition of a golden image beside it, by hard links, as if another
// pool had made it, and returns its digest. A pool that is renewed finds it there.
func Edition(t testing.TB, golden, edition string) (digest string) {
	t.Helper()
	file := filepath.Join(golden, image.ManifestFile)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var manifest image.Manifest
	require.NoError(t, json.Unmarshal(text, &manifest))
	manifest.Recipe.Edition = edition
	manifest.Digest = manifest.Recipe.Digest()
	text, err = json.Marshal(manifest)
	require.NoError(t, err)
	to := filepath.Join(filepath.Dir(golden), manifest.Digest)
	out, err := exec.Command("cp", "-al", golden, to).CombinedOutput()
	require.NoError(t, err, string(out))
	file = filepath.Join(to, image.ManifestFile)
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.WriteFile(file, text, 0o444))
	return manifest.Digest
}
