package config_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func TestWhatIsWrittenReadsTheSame(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "debian.qcow2")
	require.NoError(t, os.WriteFile(disk, nil, 0o600))
	for name, text := range map[string]string{
		"nothing": `{}`,
		"everything": `{
			"pool": "builds", "backend": "synthetic", "state_dir": "/srv/mayfly",
			"image": {"suite": "trixie", "packages": ["git", "podman"], "run": ["true", "echo 'a' \"b\""], "preset": "docker"},
			"machine": {"cpus": 3, "memory": "1500MB", "disk": "7GiB", "start_timeout": "90s"},
			"network": {"subnet": "10.1.0.0/24", "egress": "eth1", "allow": ["192.168.1.1/32", "fd00::/8 tcp/443"],
				"deny": ["192.168.0.0/16", "private"], "domains": ["gitlab.example.com", "*.debian.org"],
				"dns": ["9.9.9.9", "2620:fe::fe"], "ipv6": "2001:db8:1:2::/64", "bandwidth": "1500kbit",
				"connections": 0, "connection_rate": 7, "log_denied": true},
			"fork": {"enabled": false, "share_memory": false, "warm": ["true", "true"]},
			"nspawn": {"private_users": false},
			"host": {"max_workers": 7, "concurrent_starts": 2}}`,
		"empty lists":     `{"image": {"packages": [], "run": []}, "network": {"allow": [], "deny": [], "dns": []}}`,
		"a URL":           `{"image": {"source": "https://example.org/a.qcow2", "digest": "sha256:` + digits + `"}}`,
		"a file":          `{"image": {"source": "` + disk + `"}}`,
		"fleetingd's own": `{"vm_memory_mb": 3000, "vm_subnet": "172.16.120.", "vm_disk_directory": "/srv/vms"}`,
	} {
		t.Run(name, func(t *testing.T) {
			first, err := config.Parse([]byte(text))
			require.NoError(t, err)
			written, err := json.Marshal(first)
			require.NoError(t, err)
			second, err := config.Parse(written)
			require.NoError(t, err, string(written))
			assert.Equal(t, first, second)
		})
	}
}

const digits = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestWithChecksTheWhole(t *testing.T) {
	c := config.Default()
	c.Host.MaxWorkers = 50

	for _, own := range []string{config.PoolTry, config.PoolImages, config.PoolShell} {
		changed, err := c.With(func(c *config.Config) { c.Pool = own })
		require.NoError(t, err)
		assert.Equal(t, own, changed.Pool)
	}
	assert.Equal(t, "default", c.Pool, "the configuration itself stays")

	_, err := c.With(func(c *config.Config) { c.Network.Subnet = netip.MustParsePrefix("10.1.0.0/28") })
	assert.ErrorContains(t, err, "plugin_config.host.max_workers: 50 is more than the 12 workers")
	_, err = c.With(func(c *config.Config) { c.Backend = "cloud" })
	assert.ErrorContains(t, err, `plugin_config.backend: unknown backend "cloud"`)
}
