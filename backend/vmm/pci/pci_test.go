//go:build linux

package pci

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
)

const (
	gpu, sound, bridge = "0000:41:00.0", "0000:41:00.1", "0000:40:01.0"
	group              = "26"
)

// tree is a host as its kernel shows it.
type tree struct {
	t *testing.T
	Host
}

func newTree(t *testing.T) tree { return tree{t, Host{Root: t.TempDir()}} }

func (r tree) path(elements ...string) string {
	return filepath.Join(append([]string{r.Root}, elements...)...)
}

func (r tree) link(to string, elements ...string) {
	r.t.Helper()
	path := r.path(elements...)
	require.NoError(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(r.t, os.Symlink(to, path))
}

func (r tree) file(elements ...string) {
	r.t.Helper()
	path := r.path(elements...)
	require.NoError(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(r.t, os.WriteFile(path, nil, 0o600))
}

// device is one of the tree: without a driver or a group when those are empty.
func (r tree) device(address, driver, group string) {
	r.t.Helper()
	real := r.path("sys/devices/pci0000:40", address)
	require.NoError(r.t, os.MkdirAll(real, 0o755))
	r.link(real, "sys/bus/pci/devices", address)
	if driver != "" {
		r.link(r.path("sys/bus/pci/drivers", driver), "sys/devices/pci0000:40", address, "driver")
	}
	if group != "" {
		r.link(r.path("sys/kernel/iommu_groups", group), "sys/devices/pci0000:40", address, "iommu_group")
		r.link(real, "sys/kernel/iommu_groups", group, "devices", address)
	}
}

func TestADeviceIsGivenWithItsWholeGroup(t *testing.T) {
	host := newTree(t)
	host.device(gpu, vfioDriver, group)
	host.device(sound, vfioDriver, group)
	host.device(bridge, "pcieport", group)
	host.file("dev/vfio/vfio")
	host.file("dev/vfio", group)
	require.Equal(t, doctor.OK, host.Check(gpu).Level, host.Check(gpu))
	nodes, err := host.Nodes([]string{gpu, sound})
	require.NoError(t, err)
	require.Equal(t, []string{"/dev/vfio/vfio", "/dev/vfio/26"}, nodes)
	nodes, err = host.Nodes(nil)
	require.NoError(t, err)
	require.Empty(t, nodes)
}

func TestWhatIsLackingIsSaidWithARemedy(t *testing.T) {
	for name, c := range map[string]struct {
		lay        func(tree)
		want, mend string
	}{
		"no device": {func(tree) {}, "no such device", "lspci -D"},
		"no IOMMU": {func(h tree) { h.device(gpu, vfioDriver, "") },
			"the IOMMU is off", "intel_iommu=on"},
		"another driver": {func(h tree) { h.device(gpu, "nvidia", group) },
			"its driver is nvidia, not vfio-pci", "echo 0000:41:00.0 >/sys/bus/pci/drivers_probe"},
		"no driver": {func(h tree) { h.device(gpu, "", group) },
			"its driver is none", "driver_override"},
		"half a group": {func(h tree) { h.device(gpu, vfioDriver, group); h.device(sound, "snd_hda_intel", group) },
			"0000:41:00.1 is in the same IOMMU group, 26, and its driver is snd_hda_intel", "devices/0000:41:00.1/"},
		"no module": {func(h tree) { h.device(gpu, vfioDriver, group) },
			"/dev/vfio/vfio is not there", "modprobe vfio-pci"},
		"no node": {func(h tree) { h.device(gpu, vfioDriver, group); h.file("dev/vfio/vfio") },
			"/dev/vfio/26 is not there", "modprobe vfio-pci"},
	} {
		t.Run(name, func(t *testing.T) {
			host := newTree(t)
			c.lay(host)
			finding := host.Check(gpu)
			require.Equal(t, doctor.Missing, finding.Level)
			require.Contains(t, finding.Detail, c.want)
			require.Contains(t, finding.Mend, c.mend)
			_, err := host.Nodes([]string{gpu})
			require.ErrorContains(t, err, "giving the machine the device 0000:41:00.0: ")
			require.ErrorContains(t, err, c.want)
		})
	}
}
