//go:build linux

package qemu

import (
	"errors"
	"os"
)

// firmwares are files with a whole UEFI, which needs no store of variables beside it: it
// boots what lies where a removable disk has its boot loader. They are those of Debian and
// Ubuntu, of QEMU's own packages, and of Arch, by GOARCH.
var firmwares = map[string][]string{
	"amd64": {"/usr/share/ovmf/OVMF.fd", "/usr/share/qemu/OVMF.fd", "/usr/share/edk2/x64/OVMF.4m.fd"},
	"arm64": {"/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", "/usr/share/edk2/aarch64/QEMU_EFI.fd"},
}

var errNoFirmware = errors.New("the image's disk boots by UEFI only, and this host has no firmware for that: " +
	"install the package ovmf (on arm64 qemu-efi-aarch64)")

// findFirmware is the first of the files that is there.
func findFirmware(files []string) (string, error) {
	for _, path := range files {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", errNoFirmware
}
