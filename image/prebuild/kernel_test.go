package prebuild

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// fetched runs a prebuild of an image that is made from packages, and returns its kernel.
func fetched(t *testing.T, g *fakeGuest, recipe image.Recipe) (kernel, root string) {
	t.Helper()
	recipe.User = "root"
	w := work(t, recipe)
	w.Root = "root=/dev/vda"
	require.NoError(t, os.WriteFile(w.Kernel(), []byte("ours"), 0o600))
	require.NoError(t, os.WriteFile(w.Initrd(), []byte("ours"), 0o600))
	require.NoError(t, Run(t.Context(), g, w, func(string, string) {}))
	text, err := os.ReadFile(w.Kernel())
	require.NoError(t, err)
	return string(text), w.Root
}

func TestKernelThatIsReadyStaysUnlessStepsInstallAnother(t *testing.T) {
	g := newGuest()
	g.answers["ls -v vmlinuz"] = answer{}
	kernel, root := fetched(t, g, image.Recipe{})
	require.Equal(t, "ours", kernel)
	require.Equal(t, "root=/dev/vda", root)

	kernel, root = fetched(t, newGuest(), image.Recipe{})
	require.Equal(t, "the kernel", kernel)
	require.Equal(t, "root=UUID=1 rootflags=subvol=root", root)

	g = newGuest()
	kernel, _ = fetched(t, g, image.Recipe{Kernel: "linux-image-amd64"})
	require.Equal(t, "ours", kernel, "the one that was asked for")
	require.NotContains(t, strings.Join(g.asked, "\n"), "vmlinuz")
}

// TestWhichKernelIsFound runs the script in another /boot, with another running kernel.
func TestWhichKernelIsFound(t *testing.T) {
	const cloud, generic = "6.1.0-9-cloud-amd64", "6.1.0-9-amd64"
	for name, test := range map[string]struct {
		kernels            []string
		running            string
		packaged, unless   string
		want               string // a version, or nothing, or what the error says
		withoutInitialDisk bool
	}{
		"the only one": {kernels: []string{cloud}, running: cloud, want: cloud},
		"the newest": {kernels: []string{cloud, "6.1.0-10-cloud-amd64"}, running: cloud,
			want: "6.1.0-10-cloud-amd64"},
		"another kind": {kernels: []string{"6.1.0-10-cloud-amd64", generic}, running: cloud,
			want: generic},
		"the newest of other kinds": {kernels: []string{cloud, generic, "6.12.0-1-rt-amd64"}, running: cloud,
			want: "6.12.0-1-rt-amd64"},
		"the running one is ready": {kernels: []string{cloud}, running: cloud, unless: "running"},
		"an upgrade of what is ready": {kernels: []string{cloud, "6.1.0-10-cloud-amd64"}, running: cloud,
			unless: "running",
			want:   "6.1.0-10-cloud-amd64"},
		"the package's": {kernels: []string{cloud, generic}, running: generic,
			packaged: "linux-image-cloud-amd64", want: cloud},
		"a package without one": {kernels: []string{cloud}, running: cloud, packaged: "linux-doc",
			want: "has no kernel in /boot"},
		"none": {running: cloud, want: ""},
		"one without a disk to boot by ": {kernels: []string{cloud}, running: cloud, withoutInitialDisk: true,
			want: "no initial RAM disk"},
	} {
		t.Run(name, func(t *testing.T) {
			boot, bin := t.TempDir(), t.TempDir()
			for _, version := range test.kernels {
				require.NoError(t, os.WriteFile(filepath.Join(boot, "vmlinuz-"+version), nil, 0o600))
				if !test.withoutInitialDisk {
					require.NoError(t, os.WriteFile(filepath.Join(boot, "initrd.img-"+version), nil, 0o600))
				}
			}
			require.NoError(t, os.WriteFile(filepath.Join(bin, "uname"), []byte("#!/bin/sh\necho "+test.running+"\n"),
				0o755))
			// The meta package depends on the one with the kernel.
			require.NoError(t, os.WriteFile(filepath.Join(bin, "dpkg-query"), []byte(`#!/bin/sh
case "$*" in
*--show*linux-image-cloud-amd64) echo 'linux-image-`+cloud+` (= 6.1.1-1), kmod' ;;
*--listfiles*linux-image-`+cloud+`) echo /boot; echo /boot/vmlinuz-`+cloud+` ;;
esac`), 0o755))
			script := strings.Replace(findKernel, "cd /boot", "cd "+boot, 1)
			find := exec.Command("sh", "-c", script, "sh", test.packaged, test.unless)
			find.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
			out, err := find.CombinedOutput()
			if test.want == "" || strings.Contains(test.want, " ") {
				require.NotContains(t, string(out), "/boot/")
				require.Contains(t, string(out), test.want)
				require.Equal(t, test.want == "" && len(test.kernels) > 0, err == nil)
				return
			}
			require.NoError(t, err, string(out))
			require.Equal(t, "/boot/vmlinuz-"+test.want, strings.Split(string(out), "\n")[0])
		})
	}
}
