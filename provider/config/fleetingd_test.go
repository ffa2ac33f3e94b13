package config_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// A runner of fleetingd, as its README shows one.
const fleetingd = `
[[runners]]
  name = "fleetingd"
  executor = "instance"
  [runners.autoscaler]
    plugin = "fleetingd"
    capacity_per_instance = 1
    max_use_count = 1
    max_instances = 8
    [runners.autoscaler.plugin_config]
      egress_interface = "eth0"
      vm_disk_directory = "/tmp/fleetingd"
      vm_subnet = "172.16.120."
      vm_num_cpu_cores = 8
      vm_memory_mb = 16384
      vm_disk_size_gb = 30
      vm_prebuild_cloudinit_extra_cmds = [
        'apt-get install -y podman',
        'su - ubuntu -c "whoami"',
        '"echo \"x\""',
      ]
      vm_enable_virtio_console = false
    [runners.autoscaler.connector_config]
      username = "ubuntu"
`

func TestFleetingdRunner(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(file, []byte(fleetingd), 0o600))

	got, settings, err := config.Load(file, "")
	require.NoError(t, err)
	assert.Empty(t, diff(changed(func(c *config.Config) {
		c.Network.Egress = "eth0"
		c.StateDir = "/tmp/fleetingd"
		c.Network.Subnet = netip.MustParsePrefix("172.16.120.0/24")
		c.Machine.CPUs = 8
		c.Machine.Memory = 16 * gib
		c.Machine.Disk = 30 * gib
		c.Image.Run = []string{"apt-get install -y podman", `su - ubuntu -c "whoami"`, `echo "x"`}
	}), got))
	assert.Equal(t, config.RunnerSettings{Username: "ubuntu"}, settings)
}

func TestFleetingdCommands(t *testing.T) {
	tests := []struct{ entry, want string }{
		{`echo hello`, `echo hello`},
		{`su - ubuntu -c "whoami"`, `su - ubuntu -c "whoami"`},
		{`'su - ubuntu -c "whoami"'`, `su - ubuntu -c "whoami"`},
		{`"echo \"x\""`, `echo "x"`},
		{`'it''s'`, `it's`},
		{"|\n  echo a\n  echo b", "echo a\necho b"},
		{"echo a\necho b", "echo a\necho b"},
		{`echo a: b`, `echo a: b`},
		{`echo "a #b"`, `echo "a #b"`},
		{`"quoted" word`, `"quoted" word`},
		{`[ -f /a ] && rm /a`, `[ -f /a ] && rm /a`},
		{`[ -f /a ] || rm /a`, `[ -f /a ] || rm /a`},
		{`[[ -f /a ]] || rm /a`, `[[ -f /a ]] || rm /a`},
		{`"a" || 'b'`, `"a" || 'b'`},
		{"'a'\n'b'", "'a'\n'b'"},
		{"a\n- b", "a\n- b"},
		{"'a'\n- b", "'a'\n- b"},
		{`{ echo a; }`, `{ echo a; }`},
		{`true`, `true`},
		{`*`, `*`},
		{`# nothing`, `# nothing`},
		{`[sh, -c, 'echo "it''s"', 5]`, `'sh' '-c' 'echo "it'\''s"' '5'`},
		{`[]`, `[]`},
		{`[[a]]`, `[[a]]`},
	}
	for _, test := range tests {
		t.Run(test.entry, func(t *testing.T) {
			c, err := config.Parse(fmt.Appendf(nil, `{"vm_prebuild_cloudinit_extra_cmds":[%q]}`, test.entry))
			require.NoError(t, err)
			assert.Equal(t, []string{test.want}, c.Image.Run)
		})
	}
}

func TestFleetingdMistakesNameTheFlatKey(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{"egress_interface":"a/b"}`, `plugin_config.egress_interface: "a/b" is not a valid name of an interface`},
		{`{"vm_disk_directory":"disks"}`, `plugin_config.vm_disk_directory: "disks" is not an absolute path`},
		{`{"vm_subnet":"172.16.120"}`, `plugin_config.vm_subnet: "172.16.120" is not the first three numbers of an address`},
		{`{"vm_subnet":"172.16."}`, `plugin_config.vm_subnet: "172.16." is not the first three numbers of an address`},
		{`{"vm_subnet":"198.18.0."}`, `plugin_config.vm_subnet: 198.18.0.0/24 overlaps 198.18.0.0/30`},
		{`{"vm_num_cpu_cores":0}`, `plugin_config.vm_num_cpu_cores: 0 is out of range`},
		{`{"vm_memory_mb":"16384"}`, `plugin_config.vm_memory_mb: want a whole number, have the string "16384"`},
		{`{"vm_memory_mb":128}`, `plugin_config.vm_memory_mb: "128MiB" is too small`},
		{`{"vm_disk_size_gb":-1}`, `plugin_config.vm_disk_size_gb: "-1GiB" is negative`},
		{`{"vm_prebuild_cloudinit_extra_cmds":["''"]}`, `plugin_config.vm_prebuild_cloudinit_extra_cmds[0]: empty`},
		{`{"vm_enable_virtio_console":"no"}`, `plugin_config.vm_enable_virtio_console: want true or false, have the string "no"`},
		{`{"vm_enable_virtio_consol":true}`, `plugin_config.vm_enable_virtio_consol: unknown key: did you mean "vm_enable_virtio_console"?`},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			got := lines(t, test.text)
			require.Len(t, got, 1, "%q", got)
			assert.Contains(t, got[0], test.want)
		})
	}
}

func TestFleetingdKeysContradictOurs(t *testing.T) {
	tests := []struct{ text, flat, nested string }{
		{`{"egress_interface":"eth0","network":{"egress":"eth0"}}`, "egress_interface", "network.egress"},
		{`{"vm_disk_directory":"/a","state_dir":"/a"}`, "vm_disk_directory", "state_dir"},
		{`{"vm_subnet":"10.1.2.","network":{"subnet":"10.1.2.0/24"}}`, "vm_subnet", "network.subnet"},
		{`{"vm_num_cpu_cores":2,"machine":{"cpus":4}}`, "vm_num_cpu_cores", "machine.cpus"},
		{`{"vm_memory_mb":2048,"machine":{"memory":"2GiB"}}`, "vm_memory_mb", "machine.memory"},
		{`{"vm_disk_size_gb":10,"machine":{"disk":"10GiB"}}`, "vm_disk_size_gb", "machine.disk"},
		{`{"vm_prebuild_cloudinit_extra_cmds":[],"image":{"run":[]}}`, "vm_prebuild_cloudinit_extra_cmds", "image.run"},
	}
	for _, test := range tests {
		t.Run(test.flat, func(t *testing.T) {
			assert.Equal(t, []string{fmt.Sprintf("plugin_config.%s: contradicts plugin_config.%s, its other name: remove one of the two",
				test.flat, test.nested)}, lines(t, test.text))
		})
	}
}
