package config_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

const (
	everythingOfTart = `{"backend": "tart", "image": {"source": "oci:registry.example.org:5000/macos/base:latest"}, "tart": {
		"home": "/Users/ci/.tart", "user": "builder", "password": "b", "pull": "always", "insecure": true, "concurrency": 8,
		"cpu": "auto", "memory": "auto", "random_serial": false,
		"dirs": ["/Users/ci/cache:ro,tag=cache", "name:/srv"], "mounts": ["cache:/Users/builder/cache"], "disks": ["/a.img:ro"],
		"root_disk": "sync=fsync,caching=cached", "network": "softnet", "softnet_allow": ["10.0.0.0/8"], "softnet_block": ["0.0.0.0/0"],
		"suspendable": true, "resolver": "agent"}}`
	everythingOfBhyve = `{"backend": "bhyve", "image": {"source": "vm:base@runner"}, "bhyve": {
		"sudo": "doas", "template": "ci-14.2", "user": "ci", "password": "p", "leases": "kea", "leases_file": "/var/db/k.csv"}}`
)

func TestForeignBackendsAreWrittenAsTheyAreRead(t *testing.T) {
	for _, text := range []string{everythingOfTart, everythingOfBhyve,
		`{"backend": "tart", "image": {"source": "vm:base"}, "tart": {"network": "bridged", "bridged": ["en0"], "nested": true}}`} {
		first, err := config.Parse([]byte(text))
		require.NoError(t, err)
		written, err := json.Marshal(first)
		require.NoError(t, err)
		second, err := config.Parse(written)
		require.NoError(t, err, string(written))
		assert.Equal(t, first, second)
	}
}

func TestForeignBackendsHaveTheirDefaults(t *testing.T) {
	c, err := config.Parse([]byte(`{"backend": "tart", "state_dir": "/s", "image": {"source": "vm:base"}, "tart": {"network": "bridged", "bridged": ["en0"]}}`))
	require.NoError(t, err)
	assert.Equal(t, "/s/tart", c.TartHome())
	assert.Equal(t, "arp", c.Tart.Resolver, "dhcp knows no bridged machines")
	assert.Equal(t, image.Source{Kind: image.VM, Location: "base"}, c.Image.Source)
	assert.Equal(t, "admin", c.Recipe("").User, "the image's own account")
	assert.Equal(t, "ci", c.Recipe("ci").User)

	c, err = config.Parse([]byte(everythingOfBhyve))
	require.NoError(t, err)
	assert.Equal(t, "ci", c.Recipe("").User)
}

func TestMistakesOfForeignBackends(t *testing.T) {
	for text, want := range map[string]string{
		`{"backend": "tart"}`: `image.source: "debootstrap" is not a valid image for backend "tart", which takes "oci:`,
		`{"backend": "bhyve", "image": {"source": "oci:a.example.org/b"}}`:                                       `image.source: "oci:a.example.org/b" is not a valid image for backend "bhyve"`,
		`{"image": {"source": "oci:"}}`:                                                                          `image.source: "" is not a valid reference`,
		`{"image": {"source": "oci:-x/y"}}`:                                                                      `image.source: "-x/y" is not a valid reference`,
		`{"image": {"source": "vm:-x"}}`:                                                                         `image.source: "vm:" wants the name`,
		`{"image": {"source": "vm:x", "digest": "` + digits + `"}}`:                                              `image.digest: contradicts image.source`,
		`{"backend": "bhyve", "image": {"source": "vm:x"}, "machine": {"disk_operations": 5, "nested": true}}`:   `machine.disk_operations: the backend "bhyve" has nothing of the kind`,
		`{"backend": "tart", "image": {"source": "vm:x"}, "machine": {"nested": true}}`:                          `machine.nested: the backend "tart" has nothing of the kind`,
		`{"backend": "nspawn", "machine": {"disk_bandwidth": "1MiB"}}`:                                           `machine.disk_bandwidth: the backend "nspawn" has nothing of the kind`,
		`{"tart": {"home": "x"}}`:                                                                                `tart.home: "x" is not an absolute path`,
		`{"backend": "tart", "image": {"source": "vm:x"}, "tart": {"home": "/` + strings.Repeat("a", 90) + `"}}`: `tart.home: "/aaa`,
		`{"tart": {"user": "A b"}}`:                                                                              `tart.user: "A b" is not a valid name`,
		`{"tart": {"password": ""}}`:                                                                             `tart.password: empty`,
		`{"tart": {"pull": "never"}}`:                                                                            `tart.pull: unknown word "never": write one of missing, always`,
		`{"tart": {"concurrency": 0}}`:                                                                           `tart.concurrency: 0 is out of range`,
		`{"tart": {"cpu": "4"}}`:                                                                                 `tart.cpu: unknown word "4": write one of auto`,
		`{"tart": {"memory": "8GiB"}}`:                                                                           `tart.memory: unknown word`,
		`{"tart": {"dirs": ["relative"]}}`:                                                                       `tart.dirs[0]: "relative" is not a valid share`,
		`{"tart": {"dirs": ["/a,tag=x"], "mounts": ["y:/b"]}}`:                                                   `tart.mounts[0]: no entry of dirs has the tag "y"`,
		`{"tart": {"mounts": ["y"]}}`:                                                                            `tart.mounts[0]: "y" is not a valid mount`,
		`{"tart": {"disks": ["--x"]}}`:                                                                           `tart.disks[0]: "--x" is not a valid disk`,
		`{"tart": {"root_disk": "ro"}}`:                                                                          `tart.root_disk: "ro" is not a valid option`,
		`{"tart": {"network": "wifi"}}`:                                                                          `tart.network: unknown word "wifi"`,
		`{"tart": {"network": "bridged"}}`:                                                                       `tart.network: "bridged" needs an interface`,
		`{"tart": {"bridged": ["en0"]}}`:                                                                         `tart.bridged: contradicts network "nat"`,
		`{"tart": {"softnet_allow": ["10.0.0.0/8"]}}`:                                                            `tart.softnet_allow: contradicts network "nat"`,
		`{"tart": {"network": "softnet", "softnet_block": ["x"]}}`:                                               `tart.softnet_block[0]: "x" is not a valid network`,
		`{"tart": {"network": "softnet", "resolver": "arp"}}`:                                                    `tart.resolver: "arp" sees nothing`,
		`{"tart": {"network": "bridged", "bridged": ["en0"], "resolver": "dhcp"}}`:                               `tart.resolver: "dhcp" does not know`,
		`{"tart": {"nested": true, "suspendable": true}}`:                                                        `tart.nested: contradicts suspendable`,
		`{"tart": {"hom": "/x"}}`:                                                                                `tart.hom: unknown key: did you mean "home"?`,
		`{"bhyve": {"sudo": "su"}}`:                                                                              `bhyve.sudo: unknown word "su": write one of sudo, doas`,
		`{"bhyve": {"template": "../x"}}`:                                                                        `bhyve.template: "../x" is not a valid name`,
		`{"bhyve": {"user": ""}}`:                                                                                `bhyve.user: "" is not a valid name`,
		`{"bhyve": {"password": ""}}`:                                                                            `bhyve.password: empty`,
		`{"bhyve": {"leases": "bootp"}}`:                                                                         `bhyve.leases: unknown word "bootp"`,
		`{"bhyve": {"leases": "kea", "leases_file": "x"}}`:                                                       `bhyve.leases_file: "x" is not an absolute path`,
		`{"bhyve": {"leases_file": "/x"}}`:                                                                       `bhyve.leases_file: contradicts leases "auto"`,
	} {
		_, err := config.Parse([]byte(text))
		if assert.Error(t, err, text) {
			assert.Contains(t, err.Error(), "plugin_config."+want, text)
		}
	}
	_, err := config.Parse([]byte(`{"tart": {"pull": "x", "cpu": "y"}, "bhyve": {"sudo": "z"}}`))
	require.Error(t, err)
	require.Len(t, strings.Split(err.Error(), "\n"), 3, "all at once")
}
