// Package initrd makes the initial RAM disk that worker machines boot with:
// busybox, a script, and the few kernel modules that the root disk needs. The
// distribution's own would be ten times as big, and wait for hardware that a
// worker does not have. The kernel's command line is decided elsewhere.
package initrd

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// initScript is /init. Nothing in it depends on the image.
//
//go:embed init.sh
var initScript []byte

// wanted are the modules that are needed before the root disk is mounted, or
// before udev loads modules.
var wanted = []want{
	{name: "virtio_pci"},
	{name: "virtio_blk"},
	{name: "ext4"},
	{name: "virtio_net", optional: true},
	{name: "virtio_console", optional: true},
	{name: "virtio_rng", optional: true},
	{name: "vmw_vsock_virtio_transport", optional: true},
	// ext4 asks the kernel's crypto for crc32c by name, so modules.dep does not
	// list it among ext4's needs.
	{name: "crc32c_generic", optional: true},
}

// busybox is where the package busybox-static puts it.
const busybox = "bin/busybox"

// FromRoot makes an initrd for the newest kernel in the root file system at
// root, and returns the path of that kernel with it. The same root gives the
// same bytes. Links in it that lead out of it are not followed.
func FromRoot(root string) (kernelPath string, initrd []byte, err error) {
	inside, err := os.OpenRoot(root)
	if err != nil {
		return "", nil, fmt.Errorf("making an initrd: %w", err)
	}
	defer inside.Close()
	kernel, initrd, err := fromFS(inside.FS())
	if err != nil {
		return "", nil, fmt.Errorf("making an initrd from %s: %w", root, err)
	}
	return filepath.Join(root, kernel), initrd, nil
}

func fromFS(root fs.FS) (kernel string, initrd []byte, err error) {
	version, err := newestKernel(root)
	if err != nil {
		return "", nil, err
	}
	dir := modulesDir(version)
	modules, err := readModules(root, dir)
	if err != nil {
		return "", nil, err
	}
	order, err := modules.resolve(wanted)
	if err != nil {
		return "", nil, fmt.Errorf("kernel %s: %w", version, err)
	}
	initrd, err = pack(root, dir, order)
	return kernelPrefix + version, initrd, err
}

func pack(root fs.FS, modulesDir string, order []string) ([]byte, error) {
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := &archive{to: compressed}
	if err := addBase(archive, root); err != nil {
		return nil, err
	}
	if err := addModules(archive, root, modulesDir, order); err != nil {
		return nil, err
	}
	if err := archive.close(); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func addBase(archive *archive, root fs.FS) error {
	box, err := fs.ReadFile(root, busybox)
	if err != nil {
		return fmt.Errorf("busybox (package busybox-static): %w", err)
	}
	if err := checkStatic(box); err != nil {
		return err
	}
	for _, dir := range []string{"bin", "dev", "modules"} {
		if err := archive.directory(dir); err != nil {
			return err
		}
	}
	if err := archive.console(); err != nil {
		return err
	}
	if err := archive.file(busybox, 0o755, box); err != nil {
		return err
	}
	return archive.file("init", 0o755, initScript)
}

// addModules puts the modules into one directory, uncompressed, because
// busybox cannot unpack them, and beside them the order in which they load.
func addModules(archive *archive, root fs.FS, dir string, order []string) error {
	var names strings.Builder
	for _, path := range order {
		content, err := readModule(root, dir+"/"+path)
		if err != nil {
			return err
		}
		name := moduleName(path) + ".ko"
		if err := archive.file("modules/"+name, 0o644, content); err != nil {
			return err
		}
		names.WriteString(name + "\n")
	}
	return archive.file("modules/order", 0o644, []byte(names.String()))
}

// checkStatic refuses a busybox that needs a dynamic linker: the kernel would
// panic without naming the cause.
func checkStatic(binary []byte) error {
	file, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return fmt.Errorf("%s: %w", busybox, err)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return errors.New(busybox + " is not statically linked: install busybox-static in place of busybox")
		}
	}
	return nil
}
