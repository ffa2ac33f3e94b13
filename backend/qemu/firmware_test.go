//go:build linux

package qemu

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
)

func TestAFirmwareThatIsMissingIsNamedByItsPackage(t *testing.T) {
	dir := t.TempDir()
	missing, there := filepath.Join(dir, "missing.fd"), filepath.Join(dir, "OVMF.fd")
	_, err := findFirmware([]string{missing, dir})
	require.ErrorContains(t, err, "install the package ovmf")
	require.NoError(t, os.WriteFile(there, nil, 0o600))
	found, err := findFirmware([]string{missing, there})
	require.NoError(t, err)
	require.Equal(t, there, found)
	for _, goarch := range []string{"amd64", "arm64"} {
		require.NotEmpty(t, firmwares[goarch])
	}
	require.NotContains(t, arguments(tag, worker(), settings{firmware: there}), "-bios")
	require.False(t, vmm.Spec{}.UEFI)
}
