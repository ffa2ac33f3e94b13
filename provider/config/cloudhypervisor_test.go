package config

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCloudHypervisor(t *testing.T) {
	const text = `{"backend": "cloudhypervisor", "cloud_hypervisor": {"binary": "/opt/ch/cloud-hypervisor",
		"disk_bandwidth": "200MiB", "disk_operations": 5000, "network_bandwidth": "100MiB"}}`
	c, err := Parse([]byte(text))
	require.NoError(t, err)
	require.Equal(t, BackendCloudHypervisor, c.Backend)
	require.Equal(t, CloudHypervisor{"/opt/ch/cloud-hypervisor", 200 << 20, 5000, 100 << 20}, c.CloudHypervisor)
	for _, c := range []Config{c, Default()} {
		written, err := json.Marshal(c)
		require.NoError(t, err)
		again, err := Parse(written)
		require.NoError(t, err, string(written))
		require.Equal(t, c, again)
	}

	for text, want := range map[string]string{
		`{"binary": ""}`:                 `plugin_config.cloud_hypervisor.binary: "" is neither a name nor an absolute path`,
		`{"binary": "bin/ch"}`:           `binary: "bin/ch" is neither`,
		`{"binary": 1}`:                  `binary: want a string`,
		`{"disk_bandwidth": "200"}`:      `disk_bandwidth: "200" has no unit`,
		`{"disk_operations": 0}`:         `disk_operations: 0 would let no disk work`,
		`{"disk_operations": 1.5}`:       `disk_operations: want a whole number`,
		`{"network_bandwidth": "0MiB"}`:  `network_bandwidth: "0MiB" is too small`,
		`{"firmware": "/x"}`:             `cloud_hypervisor.firmware: unknown key`,
		`{"network_bandwith": "100MiB"}`: `did you mean "network_bandwidth"?`,
	} {
		_, err := Parse([]byte(`{"cloud_hypervisor": ` + text + `}`))
		require.ErrorContains(t, err, want)
	}
}

// TestFleetingdsKeysServeCloudHypervisor: its users come from there.
func TestFleetingdsKeysServeCloudHypervisor(t *testing.T) {
	c, err := Parse([]byte(`{"backend": "cloudhypervisor", "egress_interface": "eth0", "vm_disk_directory": "/srv/vms", "vm_subnet": "172.16.120.",
		"vm_num_cpu_cores": 8, "vm_memory_mb": 16384, "vm_disk_size_gb": 30, "vm_enable_virtio_console": false}`))
	require.NoError(t, err)
	require.Equal(t, Machine{CPUs: 8, Memory: 16 * gib, Disk: 30 * gib, StartTimeout: Default().Machine.StartTimeout}, c.Machine)
	require.Equal(t, "/srv/vms", c.StateDir)
	require.Equal(t, 252, c.Capacity())
}
