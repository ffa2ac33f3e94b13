//go:build linux && amd64

package qemu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/initrd"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// grubDir holds the parts of GRUB for machines with a BIOS.
const grubDir = "/usr/lib/grub/i386-pc"

// TestCloudImage goes the whole way of an image that comes as a disk: a qcow2
// file with a partition and a boot loader, as distributions publish them, is
// booted by firmware, prebuilt, and its kernel fetched; a worker then boots that
// kernel directly. The image is made here, since none can be downloaded.
func TestCloudImage(t *testing.T) {
	sandbox.Need(t, "qemu-img", "mmdebstrap", "mkfs.ext4", "grub-mkimage")
	f := forks{world: newWorld(t, "cloudimg"), size: forkSize, patience: testrun.Patience(t)}
	f.options.Fork = false // a clone is what this is about
	f.Backend = f.again()
	require.NoError(t, f.network.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, f.network.Close(context.Background())) })

	t.Setenv(testrun.SecretVariable, testrun.Secret)
	path := cloudImage(t)
	wanted := testrun.Recipe(t)
	wanted.Source = image.Source{Kind: image.Local, Location: path, SHA256: sum(t, path)}
	var err error
	f.golden, err = f.Build(t.Context(), wanted, func(stage, line string) { t.Log(stage, line) })
	require.NoError(t, err)
	require.Equal(t, "root=LABEL=root", f.golden.Root)
	w, err := f.start(t, 0)
	require.NoError(t, err)
	out, err := w.Run("cat /etc/mayfly-step; findmnt -no SOURCE /; sudo -n true && echo root")
	require.NoError(t, err, out)
	require.Equal(t, "a: b\n/dev/vda1\nroot\n", out)

	wanted.Source.SHA256 = strings.Repeat("0", 64)
	_, err = f.Build(t.Context(), wanted, func(string, string) {})
	require.ErrorContains(t, err, wanted.Source.SHA256)
}

// cloudImage makes a qcow2 file with one partition, of what is in the golden
// image: its agent starts by itself, and a file says that cloud-init is done, so
// that the first boot takes a fraction of what it takes with cloud-init. That
// is done for the golden image.
func cloudImage(t *testing.T) string {
	t.Helper()
	dir, root := t.TempDir(), testrun.Root(t)
	const done = "d /run/cloud-init\nf /run/cloud-init/result.json - - - - {\"v1\":{\"errors\":[]}}\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/tmpfiles.d/cloud-init-is-played.conf"), []byte(done), 0o644))
	require.NoError(t, os.Remove(filepath.Join(root, "etc/mayfly-step")))
	installKernel(t, root)
	partition := filepath.Join(dir, "partition")
	require.NoError(t, disk.FromDirectory(t.Context(), root, partition, partitionSize, "root"))
	raw, path := filepath.Join(dir, "raw"), filepath.Join(dir, "image.qcow2")
	assemble(t, raw, partition)
	out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path).CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

// installKernel does what a distribution's kernel package and boot loader do:
// an initial RAM disk beside the kernel, and a menu that boots them.
func installKernel(t *testing.T, root string) {
	t.Helper()
	kernel, ramdisk, err := initrd.FromRoot(root)
	require.NoError(t, err)
	version := strings.TrimPrefix(filepath.Base(kernel), "vmlinuz-")
	require.NoError(t, os.WriteFile(filepath.Join(root, "boot/initrd.img-"+version), ramdisk, 0o644))
	menu := fmt.Sprintf("linux /boot/vmlinuz-%[1]s root=LABEL=root console=ttyS0 rw no_timer_check\ninitrd /boot/initrd.img-%[1]s\nboot\n", version)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "boot/grub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "boot/grub/grub.cfg"), []byte(menu), 0o644))
}

const (
	sectorSize     = 512
	firstSector    = 2048 // of the partition, as all tools have it
	partitionSize  = 3 << 30
	partitionTable = 446 // where it begins in the first sector
)

// assemble writes a disk: GRUB's first sector with a partition table in it, the
// rest of GRUB behind that, and the partition.
func assemble(t *testing.T, path, partition string) {
	t.Helper()
	core := path + ".core"
	out, err := exec.Command("grub-mkimage", "-O", "i386-pc", "-d", grubDir, "-p", "(hd0,msdos1)/boot/grub", "-o", core,
		"biosdisk", "part_msdos", "ext2", "normal", "linux", "boot").CombinedOutput()
	require.NoError(t, err, string(out))
	boot, err := os.ReadFile(filepath.Join(grubDir, "boot.img"))
	require.NoError(t, err)
	rest, err := os.ReadFile(core)
	require.NoError(t, err)

	entry := make([]byte, 16)
	entry[0], entry[4] = 0x80, 0x83 // bootable, Linux
	binary.LittleEndian.PutUint32(entry[8:], firstSector)
	binary.LittleEndian.PutUint32(entry[12:], partitionSize/sectorSize)
	first := append(bytes.Clone(boot[:partitionTable]), append(entry, make([]byte, 48)...)...)
	first = append(first, 0x55, 0xaa)
	require.Len(t, first, sectorSize)

	require.NoError(t, disk.Create(path, firstSector*sectorSize+partitionSize))
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer file.Close()
	_, err = file.Write(append(first, rest...))
	require.NoError(t, err)
	copyAt(t, file, partition, firstSector*sectorSize)
}

// copyAt copies a file into another, and leaves holes where there are only
// zeros.
func copyAt(t *testing.T, to *os.File, path string, offset int64) {
	t.Helper()
	from, err := os.Open(path)
	require.NoError(t, err)
	defer from.Close()
	block, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(from, block)
		if !bytes.Equal(block[:n], zeros[:n]) {
			_, err := to.WriteAt(block[:n], offset)
			require.NoError(t, err)
		}
		offset += int64(n)
		if err != nil {
			return // partitionSize is a whole number of blocks
		}
	}
}

func sum(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	require.NoError(t, err)
	return hex.EncodeToString(hash.Sum(nil))
}
