package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKernelsSayTheirVersion(t *testing.T) {
	x86 := make([]byte, 0x4000)
	copy(x86[0x202:], "HdrS")
	copy(x86[0x20e:], []byte{0x00, 0x30})
	copy(x86[0x3200:], "6.1.0-35-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP\x00")
	for want, kernel := range map[string][]byte{
		"6.1.0-35-cloud-amd64": x86,
		"6.1.0-35-cloud-arm64": []byte(strings.Repeat("\x00", 99) +
			"Linux version 6.1.0-35-cloud-arm64 (debian-kernel@lists) \n"),
	} {
		golden := Golden{Dir: t.TempDir()}
		require.NoError(t, os.WriteFile(golden.Kernel(), kernel, 0o600))
		version, err := golden.KernelVersion()
		require.NoError(t, err)
		require.Equal(t, want, version)
	}
	far := append([]byte(nil), x86...)
	copy(far[0x20e:], []byte{0xff, 0xff})
	for _, odd := range [][]byte{nil, []byte("MZ"), far, x86[:0x20f], []byte("Linux version \x1b[2J")} {
		require.Empty(t, kernelVersion(odd))
	}
	version, err := Golden{Dir: filepath.Join(t.TempDir(), "tree")}.KernelVersion()
	require.NoError(t, err, "an image for containers has none")
	require.Empty(t, version)
}

// TestKernelsOfThisHostSayTheirVersion has a real one, where the host keeps one.
func TestKernelsOfThisHostSayTheirVersion(t *testing.T) {
	kernels, err := filepath.Glob("/boot/vmlinuz-*")
	require.NoError(t, err)
	if len(kernels) == 0 {
		t.Skip("this host has no kernel in /boot")
	}
	for _, path := range kernels {
		kernel, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, strings.TrimPrefix(filepath.Base(path), "vmlinuz-"), kernelVersion(kernel))
	}
}
