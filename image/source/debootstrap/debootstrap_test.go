//go:build linux

package debootstrap

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestMmdebstrapArguments(t *testing.T) {
	want, err := os.ReadFile("testdata/mmdebstrap.txt")
	require.NoError(t, err)
	packages := slices.Concat(basePackages, bootPackages, []string{"linux-image-cloud-amd64", "make", "gcc"})
	got := mmdebstrap(image.Source{}, "bookworm", "/build/root", strings.Join(packages, ","),
		"/build/apt.sources", "/build/apt.conf")
	require.Empty(t, cmp.Diff(string(want), strings.Join(got, "\n")+"\n"))

	source := image.Source{Variant: "buildd", Keyring: "/srv/keys.gpg"}
	got = mmdebstrap(source, "bookworm", "/build/root", "git", "/build/apt.sources", "/build/apt.conf")
	require.Contains(t, got, "--variant=buildd")
	require.Contains(t, got, "--keyring=/srv/keys.gpg")
}

func TestKernelPackage(t *testing.T) {
	for _, test := range []struct{ distribution, arch, want string }{
		{"debian", "amd64", "linux-image-cloud-amd64"},
		{"debian", "arm64", "linux-image-cloud-arm64"},
		{"ubuntu", "amd64", "linux-image-virtual"},
		{"ubuntu", "arm64", "linux-image-virtual"},
	} {
		got, err := kernelPackage(test.distribution, test.arch)
		require.NoError(t, err)
		require.Equal(t, test.want, got)
	}
	_, err := kernelPackage("debian", "riscv64")
	require.ErrorContains(t, err, "riscv64")
	_, err = kernelPackage("gentoo", "amd64")
	require.ErrorContains(t, err, "gentoo")
}

// A host that can be asked for its apt settings, with other files.
func host(t *testing.T, sources string) Maker {
	t.Helper()
	need.Programs(t, "apt-config")
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("no kernel is known for " + runtime.GOARCH)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sources.list"), []byte(sources), 0o600))
	release := filepath.Join(dir, "os-release")
	require.NoError(t, os.WriteFile(release, []byte("ID=debian\nVERSION_CODENAME=bookworm\n"), 0o600))
	return Maker{AptDir: dir, OSRelease: release}
}

func TestPlanTakesTheHostsSuiteOrTheRecipes(t *testing.T) {
	m := host(t, "deb http://deb.example/debian bookworm main\ndeb https://docker.example/debian bookworm stable\n")
	p, err := m.plan(t.Context(), image.Recipe{Packages: []string{"make"}})
	require.NoError(t, err)
	require.Equal(t, "bookworm", p.suite)
	require.Equal(t, "Types: deb\nURIs: http://deb.example/debian\nSuites: bookworm\nComponents: main\n", p.sources)
	require.Contains(t, p.packages, "make")
	require.Contains(t, p.packages, "linux-image-cloud-"+runtime.GOARCH)

	p, err = m.plan(t.Context(), image.Recipe{Source: image.Source{Suite: "trixie"}})
	require.NoError(t, err)
	require.Equal(t, "trixie", p.suite)
	require.Contains(t, p.sources, "Suites: trixie\n")
}

func TestOtherComponentsAndArchives(t *testing.T) {
	m := host(t, "deb http://deb.example/debian bookworm main\n")
	key := filepath.Join(t.TempDir(), "tools.gpg")
	require.NoError(t, os.WriteFile(key, []byte("key"), 0o600))
	source := image.Source{Components: []string{"main", "contrib"},
		ExtraSources: []string{"deb [signed-by=" + key + "] https://tools.example/apt stable main"}}
	p, err := m.plan(t.Context(), image.Recipe{Source: source})
	require.NoError(t, err)
	require.Equal(t, "Types: deb\nURIs: http://deb.example/debian\nSuites: bookworm\nComponents: main contrib\n\n"+
		"Types: deb\nURIs: https://tools.example/apt\nSuites: stable\nComponents: main\n"+
		"Signed-By: "+key+"\n", p.sources)
	root := t.TempDir()
	require.NoError(t, copyKeys(root, p.keys))
	text, err := os.ReadFile(filepath.Join(root, key))
	require.NoError(t, err)
	require.Equal(t, "key", string(text))

	source.ExtraSources = []string{"deb-src https://tools.example/apt stable main"}
	_, err = m.plan(t.Context(), image.Recipe{Source: source})
	require.ErrorContains(t, err, "image.extra_sources[0]: ")
}

func TestAKernelThatIsAskedForTakesThePlaceOfTheDefault(t *testing.T) {
	m := host(t, "deb http://deb.example/debian bookworm main\n")
	kernels := func(m Maker, recipe image.Recipe) []string {
		p, err := m.plan(t.Context(), recipe)
		require.NoError(t, err)
		return slices.DeleteFunc(p.packages, func(name string) bool { return !isKernel(name) })
	}
	require.Equal(t, []string{"linux-image-rt-amd64"}, kernels(m, image.Recipe{Kernel: "linux-image-rt-amd64"}))
	own := []string{"linux-image-6.1.0-1-amd64"}
	require.Equal(t, own, kernels(m, image.Recipe{Packages: own}))
	require.Equal(t, []string{"linux-image-cloud-" + runtime.GOARCH},
		kernels(m, image.Recipe{Packages: []string{"make"}}))
	m.Container = true
	require.Empty(t, kernels(m, image.Recipe{Kernel: "linux-image-rt-amd64"}), "a container has its host's")
}

func TestHostWithoutAnArchiveIsRefused(t *testing.T) {
	m := host(t, "deb https://docker.example/debian bookworm stable\n")
	dir := t.TempDir()
	err := m.Make(t.Context(), image.Recipe{}, dir, func(string) {})
	require.ErrorContains(t, err, "no archive of debian bookworm")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
