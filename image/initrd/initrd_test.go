package initrd

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// staticELF is the smallest binary that counts as static: a header without
// segments.
var staticELF = append([]byte("\x7fELF\x02\x01\x01"), append(make([]byte, 9),
	2, 0, 62, 0, 1, 0, 0, 0, // executable, x86-64, version
	0, 0, 0, 0, 0, 0, 0, 0, // entry
	0, 0, 0, 0, 0, 0, 0, 0, // segments
	0, 0, 0, 0, 0, 0, 0, 0, // sections
	0, 0, 0, 0, 64, 0, 56, 0, 0, 0, 64, 0, 0, 0, 0, 0)...)

func root(t *testing.T) fstest.MapFS {
	const dir = "lib/modules/6.1.0-10-cloud/"
	file := func(content string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(content)} }
	return fstest.MapFS{
		"bin/busybox":                                   {Data: staticELF},
		"boot/vmlinuz-6.1.0-9-cloud":                    file("old"),
		"boot/vmlinuz-6.1.0-10-cloud":                   file("new"),
		"boot/vmlinuz-6.9.0-1-cloud":                    file("without modules"),
		"lib/modules/6.1.0-9-cloud/modules.dep":         file(""),
		dir + "modules.builtin":                         file("kernel/fs/ext4/ext4.ko\n"),
		dir + "kernel/drivers/virtio/virtio.ko.xz":      {Data: packed(t, "xz", "virtio")},
		dir + "kernel/drivers/virtio/virtio_ring.ko.gz": {Data: packed(t, "gz", "ring")},
		dir + "kernel/drivers/virtio/virtio_pci.ko.zst": {Data: packed(t, "zst", "pci")},
		dir + "kernel/drivers/block/virtio_blk.ko":      file("blk"),
		dir + "kernel/drivers/hw_random/virtio-rng.ko":  file("rng"),
		dir + "modules.dep": file(`kernel/drivers/virtio/virtio.ko.xz: kernel/drivers/virtio/virtio_ring.ko.gz
kernel/drivers/virtio/virtio_ring.ko.gz:
kernel/drivers/virtio/virtio_pci.ko.zst: kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.gz
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.gz
kernel/drivers/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.gz
kernel/drivers/unrelated.ko:
`),
	}
}

func TestInitrdHoldsWhatTheRootDiskNeeds(t *testing.T) {
	kernel, initrd, err := fromFS(root(t))
	require.NoError(t, err)
	require.Equal(t, "boot/vmlinuz-6.1.0-10-cloud", kernel)

	plain, err := gzip.NewReader(bytes.NewReader(initrd))
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"bin":                    "40755 0:0",
		"dev":                    "40755 0:0",
		"dev/console":            "20600 5:1",
		"modules":                "40755 0:0",
		"init":                   string(initScript),
		"bin/busybox":            string(staticELF),
		"modules/virtio_ring.ko": "ring",
		"modules/virtio.ko":      "virtio",
		"modules/virtio_pci.ko":  "pci",
		"modules/virtio_blk.ko":  "blk",
		"modules/virtio_rng.ko":  "rng",
		"modules/order":          "virtio_ring.ko\nvirtio.ko\nvirtio_pci.ko\nvirtio_blk.ko\nvirtio_rng.ko\n",
	}, unpack(t, plain))

	_, again, err := fromFS(root(t))
	require.NoError(t, err)
	require.Equal(t, initrd, again, "the same root makes other bytes")
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	for missing, want := range map[string]string{
		"bin/busybox": "busybox-static",
		"lib/modules/6.1.0-10-cloud/modules.builtin":                    "ext4 is neither",
		"lib/modules/6.1.0-10-cloud/kernel/drivers/block/virtio_blk.ko": "virtio_blk",
	} {
		root := root(t)
		delete(root, missing)
		_, _, err := fromFS(root)
		require.ErrorContains(t, err, want)
	}
	_, _, err := fromFS(fstest.MapFS{})
	require.ErrorContains(t, err, "no kernel")
}

func TestDynamicBusyboxIsRefused(t *testing.T) {
	need.Programs(t, "bash")
	shell, err := programs.Find("bash")
	require.NoError(t, err)
	binary, err := os.ReadFile(shell)
	require.NoError(t, err)
	if !bytes.HasPrefix(binary, []byte("\x7fELF")) {
		t.Skip("needs ELF binaries")
	}
	require.ErrorContains(t, checkStatic(binary), "statically")
}

func TestLinksOutOfTheRootAreNotFollowed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "root", "lib"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "outside", "6.1"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "outside", "6.1", "modules.dep"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "root", "boot"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "root", "boot", "vmlinuz-6.1"), nil, 0o600))
	require.NoError(t, os.Symlink(filepath.Join(dir, "outside"), filepath.Join(dir, "root", "lib", "modules")))
	_, _, err := FromRoot(filepath.Join(dir, "root"))
	require.ErrorContains(t, err, "no kernel")
}

func TestCompareVersions(t *testing.T) {
	ascending := []string{"6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-10-cloud", "6.8.0-31-generic", "6.8.0-100-generic", "6.10", "6.10.1"}
	for i, a := range ascending {
		for j, b := range ascending {
			got := compareVersions(a, b)
			require.Equal(t, i < j, got < 0, "%s and %s", a, b)
			require.Equal(t, i == j, got == 0, "%s and %s", a, b)
		}
	}
}

func packed(t *testing.T, how, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	var to io.WriteCloser
	var err error
	switch how {
	case "gz":
		to = gzip.NewWriter(&out)
	case "xz":
		to, err = xz.NewWriter(&out)
	case "zst":
		to, err = zstd.NewWriter(&out)
	}
	require.NoError(t, err)
	_, err = io.WriteString(to, content)
	require.NoError(t, err)
	require.NoError(t, to.Close())
	return out.Bytes()
}
