//go:build linux

package debootstrap

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

const (
	cached   = "http://localhost:3142/deb.example.org/debian"
	mirror   = "http://deb.example.org/debian"
	security = "http://security.example.org/debian-security"
	lists    = "var/lib/apt/lists/"
)

func TestAGuestTakesItsPackagesFromBehindTheCache(t *testing.T) {
	m := host(t, "deb "+cached+" bookworm main\n")
	p, err := m.plan(t.Context(), image.Recipe{})
	require.NoError(t, err)
	require.Contains(t, p.sources, "URIs: "+cached+"\n", "the host itself takes the cache")

	const secured = "deb " + cached + "-security bookworm-security main\n"
	root := t.TempDir()
	for name, text := range map[string]string{
		"etc/apt/sources.list.d/0000apt.sources":                                 p.sources,
		"etc/apt/sources.list":                                                   secured,
		lists + "localhost:3142_deb.example.org_debian_dists_bookworm_InRelease": "list",
		lists + "other.example_debian_dists_bookworm_InRelease":                  "list",
		lists + "lock": "",
	} {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	mirrors := map[string]string{cached: mirror, cached + "-security": security}
	require.NoError(t, passCaches(root, mirrors))
	for name, want := range map[string]string{
		"etc/apt/sources.list.d/0000apt.sources":                  "URIs: " + mirror + "\n",
		"etc/apt/sources.list":                                    "deb " + security + " bookworm-security main\n",
		lists + "deb.example.org_debian_dists_bookworm_InRelease": "list",
		lists + "other.example_debian_dists_bookworm_InRelease":   "list",
	} {
		text, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.Contains(t, string(text), want)
	}
	require.NoFileExists(t, filepath.Join(root, lists+"localhost:3142_deb.example.org_debian_dists_bookworm_InRelease"))
}

func TestDoctorSaysWhatIsBehindTheCache(t *testing.T) {
	require.Empty(t, host(t, "deb "+mirror+" bookworm main\n").Check(t.Context()))
	findings := host(t, "deb "+cached+" bookworm main\n").Check(t.Context())
	require.Len(t, findings, 1)
	require.Equal(t, doctor.OK, findings[0].Level)
	require.Contains(t, findings[0].Detail, cached+" is this host's own: workers use "+mirror)

	findings = host(t, "deb http://localhost:3142/x bookworm main\n").Check(t.Context())
	require.Len(t, findings, 1)
	require.Equal(t, doctor.Warning, findings[0].Level)
	require.NotEmpty(t, findings[0].Mend)
}
