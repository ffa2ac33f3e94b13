package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// digest is well formed and of nothing in particular.
var digest = strings.Repeat("0123456789abcdef", 4)

// diff compares, and tells a nil list from an empty one.
func diff(want, got config.Config) string {
	return cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}))
}

// changed is the default configuration but for one change.
func changed(change func(*config.Config)) config.Config {
	c := config.Default()
	change(&c)
	return c
}

// lines parses what must be wrong and gives the mistakes, one a line.
func lines(t *testing.T, text string) []string {
	t.Helper()
	c, err := config.Parse([]byte(text))
	require.Error(t, err, "got %+v", c)
	var mistakes config.Errors
	require.ErrorAs(t, err, &mistakes)
	got := strings.Split(err.Error(), "\n")
	require.Len(t, got, len(mistakes), "one line for each mistake")
	return got
}

func imageFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "debian.qcow2")
	require.NoError(t, os.WriteFile(file, []byte("image"), 0o600))
	return file
}

func TestNothingGivesTheDefaults(t *testing.T) {
	for _, text := range []string{"", " \n", "null", "{}", `{"pool":null,"image":null,"machine":{"memory":null}}`} {
		got, err := config.Parse([]byte(text))
		require.NoError(t, err, "%q", text)
		assert.Empty(t, diff(config.Default(), got), "%q", text)
	}
}

func TestGoodValues(t *testing.T) {
	file := imageFile(t)
	tests := []struct {
		text   string
		change func(*config.Config)
	}{
		{`{"pool":"a"}`, func(c *config.Config) { c.Pool = "a" }},
		{`{"pool":"try"}`, func(c *config.Config) { c.Pool = "try" }},
		{`{"pool":"build-24-characters-long"}`, func(c *config.Config) { c.Pool = "build-24-characters-long" }},
		{`{"backend":"qemu"}`, func(c *config.Config) { c.Backend = config.BackendQEMU }},
		{`{"backend":"synthetic"}`, func(c *config.Config) { c.Backend = config.BackendSynthetic }},
		{`{"state_dir":"/srv/mayfly/"}`, func(c *config.Config) { c.StateDir = "/srv/mayfly" }},

		{`{"image":{"source":"debootstrap"}}`, func(*config.Config) {}},
		{`{"image":{"suite":"bookworm"}}`, func(c *config.Config) { c.Image.Source.Suite = "bookworm" }},
		{`{"image":{"source":"debian:13","mirror":"https://example.org/m","keyring":"/k"}}`, func(c *config.Config) {
			c.Image.Source = image.Source{
				Kind: image.Distribution, Location: "debian:13", Mirror: "https://example.org/m", Keyring: "/k",
			}
		}},
		{`{"backend":"nspawn","image":{"source":"oci:a.example.org:5000/b/c:1","plain_http":true,"verify_key":"/k/"}}`,
			func(c *config.Config) {
				c.Backend, c.Image.PlainHTTP, c.Image.VerifyKey = config.BackendNspawn, true, "/k"
				c.Image.Source = image.Source{Kind: image.OCI, Location: "a.example.org:5000/b/c:1"}
			}},
		{`{"image":{"source":"https://example.org/a.img"}}`, func(c *config.Config) {
			c.Image.Source = image.Source{Kind: image.HTTPS, Location: "https://example.org/a.img"}
		}},
		{`{"image":{"source":"https://example.org/a.img","digest":"sha256:` + strings.ToUpper(digest) + `"}}`, func(c *config.Config) {
			c.Image.Source = image.Source{Kind: image.HTTPS, Location: "https://example.org/a.img", SHA256: digest}
		}},
		{`{"image":{"source":"` + file + `","digest":"` + digest + `"}}`, func(c *config.Config) {
			c.Image.Source = image.Source{Kind: image.Local, Location: file, SHA256: digest}
		}},
		{`{"image":{"source":"local:` + file + `"}}`, func(c *config.Config) {
			c.Image.Source = image.Source{Kind: image.Local, Location: file}
		}},
		{`{"image":{"packages":["git","g++","libc6:amd64","vim=2:9.1"]}}`, func(c *config.Config) {
			c.Image.Packages = []string{"git", "g++", "libc6:amd64", "vim=2:9.1"}
		}},
		{`{"image":{"run":["echo a: b","set -e\nmake"]}}`, func(c *config.Config) {
			c.Image.Run = []string{"echo a: b", "set -e\nmake"}
		}},

		{`{"image":{"refresh":"24h"}}`, func(c *config.Config) { c.Image.Refresh.Every = 24 * time.Hour }},
		{`{"image":{"refresh":"1m"}}`, func(c *config.Config) { c.Image.Refresh.Every = time.Minute }},
		{`{"image":{"refresh":"04:30","check":["true"]}}`, func(c *config.Config) {
			c.Image.Refresh = image.Refresh{Every: 24 * time.Hour, At: 4*time.Hour + 30*time.Minute}
			c.Image.Check = []string{"true"}
		}},
		{`{"image":{"refresh":"168h at 23:59"}}`, func(c *config.Config) {
			c.Image.Refresh = image.Refresh{Every: 168 * time.Hour, At: 23*time.Hour + 59*time.Minute}
		}},
		{`{"image":{"refresh":"24h at 00:00"}}`, func(c *config.Config) { c.Image.Refresh.Every = 24 * time.Hour }},
		{`{"image":{"source":"saved:tools-2","run":["true"]}}`, func(c *config.Config) {
			c.Image.Source, c.Image.Run = image.Source{Kind: image.Saved, Location: "tools-2"}, []string{"true"}
		}},
		{`{"image":{"keep":"0s"}}`, func(c *config.Config) { c.Image.Keep = 0 }},

		{`{"image":{"preset":"docker"}}`, func(c *config.Config) { c.Image.Preset = "docker" }},

		{`{"machine":{"cpus":256}}`, func(c *config.Config) { c.Machine.CPUs = 256 }},
		{`{"machine":{"memory":"256MiB"}}`, func(c *config.Config) { c.Machine.Memory = 256 * mib }},
		{`{"machine":{"memory":"8 GiB"}}`, func(c *config.Config) { c.Machine.Memory = 8 * gib }},
		{`{"machine":{"memory":"1TiB"}}`, func(c *config.Config) { c.Machine.Memory = 1024 * gib }},
		{`{"machine":{"memory":"1024MB"}}`, func(c *config.Config) { c.Machine.Memory = 977 * mib }},
		{`{"machine":{"disk":"10GB"}}`, func(c *config.Config) { c.Machine.Disk = 9537 * mib }},
		{`{"machine":{"disk":"1TB"}}`, func(c *config.Config) { c.Machine.Disk = 953675 * mib }},
		{`{"machine":{"start_timeout":"1m30s"}}`, func(c *config.Config) { c.Machine.StartTimeout = 90 * time.Second }},

		{`{"network":{"subnet":"10.1.2.0/29"}}`, func(c *config.Config) { c.Network.Subnet = netip.MustParsePrefix("10.1.2.0/29") }},
		{`{"network":{"egress":"enp0s31f6.1000"}}`, func(c *config.Config) { c.Network.Egress = "enp0s31f6.1000" }},

		{`{"host":{"max_workers":0}}`, func(*config.Config) {}},
		{`{"host":{"max_workers":65532}}`, func(c *config.Config) { c.Host.MaxWorkers = 65532 }},
		{`{"host":{"max_workers":4},"network":{"subnet":"10.1.2.0/29"}}`, func(c *config.Config) {
			c.Host.MaxWorkers, c.Network.Subnet = 4, netip.MustParsePrefix("10.1.2.0/29")
		}},
		{`{"fork":{"enabled":false}}`, func(c *config.Config) { c.Fork.Enabled = false }},
		{`{"fork":{"spares":3}}`, func(c *config.Config) { c.Fork.Spares = 3 }},
		{`{"fork":{"enabled":false,"warm":["systemctl start postgresql"]}}`, func(c *config.Config) {
			c.Fork.Enabled, c.Fork.Warm = false, []string{"systemctl start postgresql"}
		}},
		{`{"backend":"nspawn","fork":{"warm":["true"]}}`, func(c *config.Config) {
			c.Backend, c.Fork.Warm = config.BackendNspawn, []string{"true"}
		}},
		{`{"fork":{"share_memory":false}}`, func(c *config.Config) { c.Fork.ShareMemory = false }},
		{`{"backend":"nspawn","nspawn":{"private_users":false}}`, func(c *config.Config) {
			c.Backend, c.Nspawn.PrivateUsers = config.BackendNspawn, false
		}},
		{`{"host":{"concurrent_starts":1}}`, func(c *config.Config) { c.Host.ConcurrentStarts = 1 }},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			got, err := config.Parse([]byte(test.text))
			require.NoError(t, err)
			assert.Empty(t, diff(changed(test.change), got))
		})
	}
}

func TestBadValues(t *testing.T) {
	file := imageFile(t)
	tests := []struct{ name, text, want string }{
		// The ten that everybody makes.
		{"unknown key", `{"machine":{"memroy":"2GiB"}}`,
			`plugin_config.machine.memroy: unknown key: did you mean "memory"?`},
		{"bad unit", `{"machine":{"memory":"8G"}}`,
			`plugin_config.machine.memory: "8G" has an unknown unit: use MiB, GiB, TiB, MB, GB or TB, for instance "8GiB"`},
		{"bad CIDR", `{"network":{"subnet":"10.210.0.0"}}`,
			`plugin_config.network.subnet: "10.210.0.0" is not a valid network in CIDR notation: write for instance "10.210.0.0/16"`},
		{"negative count", `{"host":{"max_workers":-1}}`,
			`plugin_config.host.max_workers: -1 is negative: write a number, or 0 for as many as the subnet holds`},
		{"missing file", `{"image":{"source":"/no/such/file"}}`,
			`plugin_config.image.source: cannot read "/no/such/file", no such file or directory: check the path`},
		{"contradictory keys", `{"vm_num_cpu_cores":2,"machine":{"cpus":2}}`,
			`plugin_config.vm_num_cpu_cores: contradicts plugin_config.machine.cpus, its other name: remove one of the two`},
		{"wrong type", `{"machine":{"memory":8}}`,
			`plugin_config.machine.memory: want a string, have the number 8: write for instance "2GiB"`},
		{"empty source", `{"image":{"source":""}}`,
			`plugin_config.image.source: empty: write "debootstrap", a distribution such as "debian:13", an ` +
				`https:// URL, ` +
				`the absolute path of a file, "oci:REGISTRY/NAME:TAG", or "saved:NAME"`},
		{"unknown backend", `{"backend":"firecracker"}`,
			`plugin_config.backend: unknown backend "firecracker": use one of auto, qemu, cloudhypervisor, nspawn, tart, bhyve, synthetic`},
		{"subnet too small", `{"network":{"subnet":"10.1.2.0/30"}}`,
			`plugin_config.network.subnet: the subnet 10.1.2.0/30 is too small, as it takes three addresses beside the workers': write a prefix of /29 or shorter`},

		{"unknown table", `{"imgae":{"source":""}}`, `plugin_config.imgae: unknown key: did you mean "image"?`},
		{"key of a table inside", `{"memory":"2GiB"}`,
			`plugin_config.memory: unknown key: did you mean plugin_config.machine.memory?`},
		{"key of another table", `{"machine":{"subnet":"10.0.0.0/24"}}`,
			`plugin_config.machine.subnet: unknown key: did you mean plugin_config.network.subnet?`},
		{"key of the table around", `{"machine":{"pool":"a"}}`,
			`plugin_config.machine.pool: unknown key: did you mean plugin_config.pool?`},
		{"unlike any key", `{"host":{"colour":"red"}}`,
			`plugin_config.host.colour: unknown key: remove it, or use one of max_workers, concurrent_starts`},
		{"key of another case", `{"Pool":"a"}`, `plugin_config.Pool: unknown key: did you mean "pool"?`},
		{"key with a line break", `{"host":{"a\nb c":1}}`,
			`plugin_config.host."a\nb c": unknown key: remove it, or use one of max_workers, concurrent_starts`},
		{"not JSON", `{"pool":`, `plugin_config: not valid JSON: unexpected EOF`},
		{"more than JSON", `{} {}`, `plugin_config: not valid JSON: there is more after its end: remove it`},
		{"not a table", `[1]`, `plugin_config: want a table, have a list: write [runners.autoscaler.plugin_config]`},
		{"no table", `{"image":"debian"}`,
			`plugin_config.image: want a table, have the string "debian": write for instance [runners.autoscaler.plugin_config.image]`},

		{"pool type", `{"pool":true}`, `plugin_config.pool: want a string, have true: write for instance "default"`},
		{"pool empty", `{"pool":""}`, `plugin_config.pool: "" is not a valid name`},
		{"pool upper case", `{"pool":"A"}`, `plugin_config.pool: "A" is not a valid name`},
		{"pool path", `{"pool":"../a"}`, `plugin_config.pool: "../a" is not a valid name`},
		{"pool ends in -", `{"pool":"a-"}`, `plugin_config.pool: "a-" is not a valid name`},
		{"pool too long", `{"pool":"a23456789012345678901234x"}`, `plugin_config.pool: "a23456789012345678901234x" is not a valid name`},
		{"backend empty", `{"backend":""}`, `plugin_config.backend: unknown backend "": use one of`},
		{"state_dir relative", `{"state_dir":"mayfly"}`, `plugin_config.state_dir: "mayfly" is not an absolute path`},
		{"state_dir empty", `{"state_dir":""}`, `plugin_config.state_dir: "" is not an absolute path`},
		{"state_dir with a comma", `{"state_dir":"/srv/a,b"}`, `plugin_config.state_dir: "/srv/a,b" has a comma or a control character in it`},
		{"state_dir with a line break", `{"state_dir":"/srv/a\nb"}`, `plugin_config.state_dir: "/srv/a\nb" has a comma or a control character in it`},
		{"pool of image build", `{"pool":"images"}`, `plugin_config.pool: "images" is what a command of this program calls its own pool: choose another name`},
		{"state_dir too long", `{"state_dir":"/` + strings.Repeat("d", 60) + `"}`,
			`plugin_config.state_dir: "/` + strings.Repeat("d", 60) + `" is too long for the sockets below it, whose paths may have 107 bytes: shorten it by 4`},

		{"source type", `{"image":{"source":["a"]}}`, `plugin_config.image.source: want a string, have a list`},
		{"source unknown", `{"image":{"source":"debian.img"}}`, `plugin_config.image.source: unknown source "debian.img"`},
		{"source release", `{"image":{"source":"debian:9"}}`,
			`plugin_config.image.source: no release "9" of debian is known: write for instance "debian:13"`},
		{"digest of a distribution", `{"image":{"source":"debian:13","digest":"` + digest + `"}}`,
			`plugin_config.image.digest: contradicts image.source`},
		{"mirror http", `{"image":{"source":"debian:13","mirror":"http://example.org"}}`,
			`plugin_config.image.mirror: not a valid https:// URL`},
		{"mirror with a password", `{"image":{"source":"debian:13","mirror":"https://u:p@example.org"}}`,
			`plugin_config.image.mirror: not a valid https:// URL without a user`},
		{"preset of another distribution", `{"image":{"source":"fedora:43","preset":"docker"}}`,
			`plugin_config.image.preset: "docker" is for Debian and Ubuntu, and not for image.source "fedora:43"`},
		{"mirror of no distribution", `{"image":{"mirror":"https://example.org"}}`,
			`plugin_config.image.mirror: contradicts image.source, which is no distribution`},
		{"plain HTTP without a registry", `{"image":{"plain_http":true}}`,
			`plugin_config.image.plain_http: is for an image.source such as "oci:`},
		{"key without a registry", `{"image":{"verify_key":"/k"}}`,
			`plugin_config.image.verify_key: is for an image.source such as "oci:`},
		{"key of Tart", `{"backend":"tart","image":{"source":"oci:example.org/a","verify_key":"/k"}}`,
			`plugin_config.image.verify_key: is for an image.source such as "oci:`},
		{"proxy of a finished image",
			`{"backend":"nspawn","image":{"source":"oci:example.org/a","proxy":"http://192.0.2.1:3128"}}`,
			`plugin_config.image.proxy: contradicts image.source "oci:example.org/a", which is a finished image`},
		{"a distribution without systemd", `{"image":{"source":"alpine:3.22"}}`,
			`plugin_config.image.source: "alpine:3.22": Alpine's images start with OpenRC, and a worker needs systemd`},
		{"saved without a name", `{"image":{"source":"saved:"}}`, `plugin_config.image.source: "" is not a valid name`},
		{"saved elsewhere", `{"image":{"source":"saved:../a"}}`, `plugin_config.image.source: "../a" is not a valid name`},
		{"packages of a saved image", `{"image":{"source":"saved:tools","packages":["git"]}}`,
			`plugin_config.image.packages: contradicts image.source "saved:tools", which was set up before`},
		{"digest of a saved image", `{"image":{"source":"saved:tools","digest":"` + strings.Repeat("0", 64) + `"}}`,
			`plugin_config.image.digest: contradicts image.source, which is not a file`},
		{"suite of a saved image", `{"image":{"source":"saved:tools","suite":"trixie"}}`,
			`plugin_config.image.suite: contradicts image.source`},
		{"saved for Tart", `{"backend":"tart","image":{"source":"saved:tools"}}`,
			`plugin_config.image.source: "saved:tools" is not a valid image for backend "tart"`},
		{"renewal of a finished image", `{"image":{"source":"oci:example.org/a","refresh":"24h"}}`,
			`plugin_config.image.refresh: contradicts image.source "oci:example.org/a", which is renewed`},
		{"key relative", `{"image":{"source":"oci:example.org/a","verify_key":"cosign.pub"}}`,
			`plugin_config.image.verify_key: "cosign.pub" is not an absolute path`},
		{"steps of a finished image", `{"backend":"qemu","image":{"source":"oci:example.org/a","run":["true"]}}`,
			`plugin_config.image.run: contradicts image.source "oci:example.org/a", which is a finished image`},
		{"packages of a finished image",
			`{"backend":"nspawn","image":{"source":"oci:example.org/a","packages":["git"]}}`,
			`plugin_config.image.packages: contradicts image.source`},
		{"keyring relative", `{"image":{"source":"debian:13","keyring":"keys"}}`,
			`plugin_config.image.keyring: "keys" is not an absolute path`},
		{"source http", `{"image":{"source":"http://example.org/a.img"}}`, `plugin_config.image.source: "http://example.org/a.img" could be changed on its way: use https://`},
		{"source no URL", `{"image":{"source":"https://"}}`, `plugin_config.image.source: not a valid URL`},
		{"source relative", `{"image":{"source":"local:a.img"}}`, `plugin_config.image.source: "a.img" is not an absolute path`},
		{"source directory", `{"image":{"source":"/"}}`, `plugin_config.image.source: "/" is not a regular file`},
		{"digest short", `{"image":{"source":"` + file + `","digest":"abc"}}`, `plugin_config.image.digest: "abc" is not a valid SHA-256`},
		{"digest odd", `{"image":{"source":"` + file + `","digest":"sha512:` + digest + `"}}`, `plugin_config.image.digest: "sha512:`},
		{"digest of no file", `{"image":{"digest":"` + digest + `"}}`, `plugin_config.image.digest: contradicts image.source "debootstrap"`},
		{"suite of no release", `{"image":{"suite":"--help"}}`, `plugin_config.image.suite: "--help" is not a valid name of a release`},
		{"suite of a file", `{"image":{"suite":"trixie","source":"` + file + `"}}`, `plugin_config.image.suite: contradicts image.source`},
		{"packages type", `{"image":{"packages":"git"}}`, `plugin_config.image.packages: want a list of strings, have the string "git": write for instance ["git"]`},
		{"packages element", `{"image":{"packages":["git",1]}}`, `plugin_config.image.packages[1]: want a string, have the number 1: write for instance packages = ["git"]`},
		{"packages null", `{"image":{"packages":[null]}}`, `plugin_config.image.packages[0]: want a string, have nothing`},
		{"packages two in one", `{"image":{"packages":["git curl"]}}`, `plugin_config.image.packages[0]: "git curl" is not a valid name of a package`},
		{"packages option", `{"image":{"packages":["-y"]}}`, `plugin_config.image.packages[0]: "-y" is not a valid name of a package`},
		{"run type", `{"image":{"run":{"a":"b"}}}`, `plugin_config.image.run: want a list of strings, have a table`},
		{"run empty", `{"image":{"run":["true"," "]}}`, `plugin_config.image.run[1]: empty: write a shell command`},

		{"refresh unit", `{"image":{"refresh":"24"}}`,
			`plugin_config.image.refresh: "24" is not a valid time to renew images: write for instance "24h", "04:00"`},
		{"refresh clock", `{"image":{"refresh":"24:00"}}`, `plugin_config.image.refresh: "24:00" is not a valid time`},
		{"refresh at nothing", `{"image":{"refresh":"24h at "}}`,
			`plugin_config.image.refresh: "24h at " is not a valid`},
		{"refresh at noon", `{"image":{"refresh":"24h at noon"}}`,
			`plugin_config.image.refresh: "24h at noon" is not a`},
		{"refresh often", `{"image":{"refresh":"59s"}}`, `plugin_config.image.refresh: "59s" is out of range`},
		{"refresh never", `{"image":{"refresh":"0s"}}`, `plugin_config.image.refresh: "0s" is out of range`},
		{"refresh seldom", `{"image":{"refresh":"9000h"}}`, `plugin_config.image.refresh: "9000h" is out of range`},
		{"refresh of no day", `{"image":{"refresh":"36h at 04:00"}}`,
			`plugin_config.image.refresh: "36h at 04:00" has a time of the day, and not whole days`},
		{"refresh of tart", `{"backend":"tart","image":{"source":"vm:x","refresh":"24h"}}`,
			`plugin_config.image.refresh: images of the backend "tart" are its tool's`},
		{"refresh with devices", `{"image":{"refresh":"24h"},"machine":{"devices":["0000:41:00.0"]}}`,
			`plugin_config.image.refresh: contradicts machine.devices`},
		{"refresh without room",
			`{"image":{"refresh":"24h"},"host":{"max_workers":4},"network":{"subnet":"10.1.2.0/29"}}`,
			`plugin_config.host.max_workers: 4 is more than the 3 workers`},
		{"check without refresh", `{"image":{"check":["true"]}}`,
			`plugin_config.image.check: nothing is checked, since nothing is renewed: write for instance`},
		{"check empty", `{"image":{"refresh":"24h","check":[""]}}`, `plugin_config.image.check[0]: empty`},
		{"keep unit", `{"image":{"keep":"3"}}`, `plugin_config.image.keep: "3" is not a valid duration`},
		{"keep negative", `{"image":{"keep":"-1h"}}`, `plugin_config.image.keep: "-1h" is negative`},

		{"preset unknown", `{"image":{"preset":"podman"}}`,
			`plugin_config.image.preset: unknown word "podman": write one of docker`},
		{"preset type", `{"image":{"preset":["docker"]}}`,
			`plugin_config.image.preset: want a string, have a list: write for instance "docker"`},
		{"preset of containers", `{"backend":"nspawn","image":{"preset":"docker"}}`,
			`plugin_config.image.preset: "docker" does not run in containers of the backend "nspawn"`},
		{"preset of tart", `{"backend":"tart","image":{"source":"vm:x","preset":"docker"}}`,
			`plugin_config.image.preset: the backend "tart" has no presets: remove it`},
		{"warm type", `{"fork":{"warm":"true"}}`,
			`plugin_config.fork.warm: want a list of strings, have the string "true": write for instance ["systemctl start postgresql"]`},
		{"warm empty", `{"fork":{"warm":["true",""]}}`, `plugin_config.fork.warm[1]: empty: write a shell command`},
		{"warm of bhyve", `{"backend":"bhyve","image":{"source":"vm:x@y"},"fork":{"warm":["true"]}}`,
			`plugin_config.fork.warm: the backend "bhyve" runs no commands when a worker starts: remove it`},

		{"cpus none", `{"machine":{"cpus":0}}`, `plugin_config.machine.cpus: 0 is out of range: write a number from 1 to 256`},
		{"cpus many", `{"machine":{"cpus":257}}`, `plugin_config.machine.cpus: 257 is out of range`},
		{"cpus broken", `{"machine":{"cpus":1.5}}`, `plugin_config.machine.cpus: want a whole number, have the number 1.5: write for instance 2`},
		{"cpus text", `{"machine":{"cpus":"2"}}`, `plugin_config.machine.cpus: want a whole number, have the string "2"`},
		{"memory without unit", `{"machine":{"memory":"8"}}`, `plugin_config.machine.memory: "8" has no unit: write for instance "8GiB"`},
		{"memory negative", `{"machine":{"memory":"-8GiB"}}`, `plugin_config.machine.memory: "-8GiB" is negative`},
		{"memory broken", `{"machine":{"memory":"1.5GiB"}}`, `plugin_config.machine.memory: "1.5GiB" is not a valid size: write a whole number`},
		{"memory little", `{"machine":{"memory":"255MiB"}}`, `plugin_config.machine.memory: "255MiB" is too small: write at least "256MiB"`},
		{"memory overflow", `{"machine":{"memory":"9999999TiB"}}`, `plugin_config.machine.memory: "9999999TiB" is more than any machine has`},
		{"memory no number", `{"machine":{"memory":"99999999999999999999MiB"}}`, `plugin_config.machine.memory: "99999999999999999999MiB" is more than any machine has`},
		{"disk little", `{"machine":{"disk":"2GB"}}`, `plugin_config.machine.disk: "2GB" is too small: write at least "2048MiB"`},
		{"disk type", `{"machine":{"disk":false}}`, `plugin_config.machine.disk: want a string, have false: write for instance "10GiB"`},
		{"start_timeout number", `{"machine":{"start_timeout":600}}`, `plugin_config.machine.start_timeout: want a string, have the number 600: write for instance "10m"`},
		{"start_timeout unit", `{"machine":{"start_timeout":"600"}}`, `plugin_config.machine.start_timeout: "600" is not a valid duration`},
		{"start_timeout negative", `{"machine":{"start_timeout":"-1m"}}`, `plugin_config.machine.start_timeout: "-1m" is too short: write at least "1s"`},

		{"subnet host bits", `{"network":{"subnet":"10.210.0.1/16"}}`, `plugin_config.network.subnet: "10.210.0.1/16" has bits set after its prefix: write "10.210.0.0/16"`},
		{"subnet IPv6", `{"network":{"subnet":"fd00::/64"}}`, `plugin_config.network.subnet: "fd00::/64" is not IPv4`},
		{"subnet of the guest", `{"network":{"subnet":"198.18.0.0/15"}}`, `plugin_config.network.subnet: 198.18.0.0/15 overlaps 198.18.0.0/30`},
		{"egress empty", `{"network":{"egress":""}}`, `plugin_config.network.egress: empty`},
		{"egress long", `{"network":{"egress":"interface-of-20-long"}}`, `plugin_config.network.egress: "interface-of-20-long" is not a valid name of an interface`},
		{"egress space", `{"network":{"egress":"eth 0"}}`, `plugin_config.network.egress: "eth 0" is not a valid name of an interface`},
		{"egress slash", `{"network":{"egress":"a/b"}}`, `plugin_config.network.egress: "a/b" is not a valid name of an interface`},

		{"max_workers above capacity", `{"host":{"max_workers":5},"network":{"subnet":"10.1.2.0/29"}}`,
			`plugin_config.host.max_workers: 5 is more than the 4 workers that the subnet 10.1.2.0/29 holds`},
		{"max_workers above capacity beside spares", `{"fork":{"spares":9},"host":{"max_workers":4},"network":{"subnet":"10.1.2.0/29"}}`,
			`plugin_config.host.max_workers: 4 is more than the 3 workers that the subnet 10.1.2.0/29 holds`},
		{"max_workers huge", `{"host":{"max_workers":1e99}}`, `plugin_config.host.max_workers: want a whole number, have the number 1e99`},
		{"fork.enabled no flag", `{"fork":{"enabled":"yes"}}`, `plugin_config.fork.enabled: want true or false, have the string "yes": write for instance true`},
		{"fork.spares negative", `{"fork":{"spares":-1}}`, `plugin_config.fork.spares: -1 is out of range: write a number from 0 to 100`},
		{"nspawn.private_users no flag", `{"nspawn":{"private_users":"no"}}`, `plugin_config.nspawn.private_users: want true or false, have the string "no": write for instance true`},
		{"fork.share_memory no flag", `{"fork":{"share_memory":1}}`, `plugin_config.fork.share_memory: want true or false, have the number 1: write for instance true`},
		{"concurrent_starts none", `{"host":{"concurrent_starts":0}}`, `plugin_config.host.concurrent_starts: 0 would start no worker: write at least 1`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := lines(t, test.text)
			require.Len(t, got, 1, "one mistake, one line: %q", got)
			assert.True(t, strings.HasPrefix(got[0], test.want), "want %s\nhave %s", test.want, got[0])
		})
	}
}

func TestUnreadableFile(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads every file")
	}
	file := imageFile(t)
	require.NoError(t, os.Chmod(file, 0))
	assert.Equal(t, []string{`plugin_config.image.source: cannot read "` + file + `", permission denied: let the runner's user read it`},
		lines(t, `{"image":{"source":"`+file+`"}}`))
}

func TestEveryMistakeIsReportedInOrder(t *testing.T) {
	text := `{"machine":{"memory":"8","cpus":0},"pol":"a","backend":"vax","host":{"max_workers":"x"},"network":{"subnet":"x"}}`
	want := []string{
		"plugin_config.backend", "plugin_config.host.max_workers", "plugin_config.machine.cpus",
		"plugin_config.machine.memory", "plugin_config.network.subnet", "plugin_config.pol",
	}
	for range 10 { // maps iterate in another order each time
		_, err := config.Parse([]byte(text))
		var mistakes config.Errors
		require.ErrorAs(t, err, &mistakes)
		var paths []string
		for _, mistake := range mistakes {
			paths = append(paths, mistake.Path)
		}
		require.Equal(t, want, paths)
	}
}

func TestTwoMistakesGiveTwoLines(t *testing.T) {
	assert.Equal(t, []string{
		`plugin_config.machine.cpus: 0 is out of range: write a number from 1 to 256`,
		`plugin_config.network.dns[0]: "x" is not a valid address: write for instance "9.9.9.9" or "2620:fe::fe"`,
	}, lines(t, `{"machine":{"cpus":0},"network":{"dns":["x"]}}`))
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(``))
	f.Add([]byte(`{"pool":"a","machine":{"memory":"8GiB","cpus":1.5},"network":{"allow":["10.0.0.0/8",null]}}`))
	f.Add([]byte(`{"network":{"deny":["private","fd00::/8 udp/1-2"],"domains":["*.a.b"],"ipv6":true,"bandwidth":"1gbit","connections":0}}`))
	f.Add([]byte(`{"vm_subnet":"172.16.120.","vm_memory_mb":-1,"vm_prebuild_cloudinit_extra_cmds":["'a'","[b, 'c']","*"]}`))
	f.Add([]byte(`{"image":{"source":"https://example.org","digest":"sha256:00"},"\n":[[]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse(data)
		if err != nil {
			var mistakes config.Errors
			require.ErrorAs(t, err, &mistakes)
			require.NotEmpty(t, mistakes)
			require.Len(t, strings.Split(err.Error(), "\n"), len(mistakes))
			return
		}
		require.NotEmpty(t, c.Pool)
		require.True(t, filepath.IsAbs(c.StateDir))
		require.NotEmpty(t, c.Image.Source.Kind)
		require.GreaterOrEqual(t, c.Machine.Memory, 256*mib)
		require.GreaterOrEqual(t, c.Machine.Disk, 2*gib)
		require.Positive(t, c.Machine.CPUs)
		require.GreaterOrEqual(t, c.Capacity(), max(2, c.Host.MaxWorkers))
		require.Positive(t, c.Host.ConcurrentStarts)
	})
}
