package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
)

// mostOfKernel is how many bytes of a kernel are looked at.
const mostOfKernel = 64 << 20

// KernelVersion is the version that the kernel says it has, such as 6.1.0-35-cloud-amd64,
// or empty where it does not say one that can be read.
func (g Golden) KernelVersion() (string, error) {
	info, err := os.Stat(g.Kernel())
	if os.IsNotExist(err) {
		return "", nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() > mostOfKernel {
		return "", err
	}
	kernel, err := os.ReadFile(g.Kernel())
	if err != nil {
		return "", fmt.Errorf("reading the kernel of image %s: %w", g.Digest, err)
	}
	return kernelVersion(kernel), nil
}

// Places in a kernel for x86, see "The Linux/x86 Boot Protocol".
const (
	headerMagicAt   = 0x202
	headerMagic     = "HdrS"
	versionOffsetAt = 0x20e
	headerBase      = 0x200
)

// banner is what a kernel that is not packed has before its version.
const banner = "Linux version "

func kernelVersion(kernel []byte) string {
	version := kernel
	if len(kernel) > versionOffsetAt+2 && string(kernel[headerMagicAt:headerMagicAt+len(headerMagic)]) == headerMagic {
		at := headerBase + int(binary.LittleEndian.Uint16(kernel[versionOffsetAt:]))
		if at >= len(kernel) {
			return ""
		}
		version = kernel[at:]
	} else {
		_, after, found := bytes.Cut(kernel, []byte(banner))
		if !found {
			return ""
		}
		version = after
	}
	words := strings.Fields(string(version[:min(len(version), 128)]))
	if len(words) == 0 || strings.ContainsFunc(words[0], func(r rune) bool { return r < '!' || r > '~' }) {
		return ""
	}
	return words[0]
}
