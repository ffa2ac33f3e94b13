package config

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMachinesDevices(t *testing.T) {
	const text = `{"machine": {"disk_bandwidth": "200MiB", "disk_operations": 5000, "nested": true,
		"devices": ["0000:41:00.0", "0000:41:00.1"]}, "host": {"max_workers": 7}}`
	c, err := Parse([]byte(text))
	require.NoError(t, err)
	want := Default().Machine
	want.DiskBandwidth, want.DiskOperations, want.Nested = 200<<20, 5000, true
	want.Devices = []string{"0000:41:00.0", "0000:41:00.1"}
	require.Equal(t, want, c.Machine)
	require.Equal(t, 1, c.MaxWorkers(), "each worker has all devices")
	written, err := json.Marshal(c)
	require.NoError(t, err)
	again, err := Parse(written)
	require.NoError(t, err, string(written))
	require.Equal(t, c, again)

	for text, want := range map[string]string{
		`{"machine": {"disk_bandwidth": 200}}`:                            `disk_bandwidth: want a string`,
		`{"machine": {"disk_bandwidth": "0MiB"}}`:                         `disk_bandwidth: "0MiB" is too small`,
		`{"machine": {"disk_operations": 0}}`:                             `disk_operations: 0 would let no disk work`,
		`{"machine": {"nested": "yes"}}`:                                  `nested: want true or false`,
		`{"machine": {"devices": "0000:41:00.0"}}`:                        `devices: want a list of strings`,
		`{"machine": {"devices": ["41:00.0"]}}`:                           `devices[0]: "41:00.0" is not the address`,
		`{"machine": {"devices": ["0000:41:00.0,x-vga=on"]}}`:             `devices[0]: "0000:41:00.0,x-vga=on" is not`,
		`{"machine": {"devices": ["0000:41:00.0", "0000:41:00.0"]}}`:      `devices: "0000:41:00.0" is given twice`,
		`{"backend": "nspawn", "machine": {"devices": ["0000:41:00.0"]}}`: `devices: the backend "nspawn" cannot`,
	} {
		_, err := Parse([]byte(text))
		require.ErrorContains(t, err, want)
	}
}
