package host

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// TestRecipesFollowTheHostsFiles has another image for another content.
func TestRecipesFollowTheHostsFiles(t *testing.T) {
	dir := t.TempDir()
	file, authority := filepath.Join(dir, "daemon.json"), filepath.Join(dir, "ca.pem")
	write := func(path, text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	certificate := func(text string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(text)}))
	}
	write(file, "{}")
	write(authority, certificate("one")+certificate("other"))
	c := config.Default()
	c.Image.Files = map[string]config.File{"/etc/x": {From: file}, "/etc/y": {Content: "y"}}
	c.Image.CACertificates = []string{authority}
	first, err := recipeOf(c, "ci")
	require.NoError(t, err)
	require.Equal(t, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", first.Files[0].SHA256)
	require.Empty(t, first.Files[1].SHA256)
	require.Equal(t, []string{certificate("one"), certificate("other")}, first.Certificates)

	write(file, "{ }")
	second, err := recipeOf(c, "ci")
	require.NoError(t, err)
	write(authority, certificate("one"))
	third, err := recipeOf(c, "ci")
	require.NoError(t, err)
	require.NotEqual(t, first.Digest(), second.Digest())
	require.NotEqual(t, second.Digest(), third.Digest())

	require.NoError(t, os.Remove(file))
	_, err = recipeOf(c, "ci")
	require.ErrorContains(t, err, `image.files."/etc/x": open `+file)
	write(file, "{}")
	write(authority, "nothing")
	_, err = recipeOf(c, "ci")
	require.ErrorContains(t, err, "image.ca_certificates: "+authority+" has no certificate")
}
