package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func TestWhatGoesIntoABuild(t *testing.T) {
	from := filepath.Join(t.TempDir(), "daemon.json")
	require.NoError(t, os.WriteFile(from, []byte("{}"), 0o600))
	c, err := config.Parse([]byte(`{"image": {
		"files":
			{"/etc/motd": {"content": ""}, "/etc/docker/daemon.json": {"from": "` + from + `", "mode": "4750",
				"owner": "1000:adm"}},
		"env": {"VERSION": "1.2"}, "secrets": {"A": "file:/etc/token", "B": "env:CI_TOKEN"}}}`))
	require.NoError(t, err)
	recipe := c.Recipe("")
	assert.Equal(t, []image.File{
		{Path: "/etc/docker/daemon.json", From: from, Mode: 0o4750, Owner: "1000:adm"}, {Path: "/etc/motd",
			Mode: 0o644},
	}, recipe.Files)
	assert.Equal(t, map[string]string{"VERSION": "1.2"}, recipe.Env)
	assert.Equal(t, []image.Secret{{Name: "A", File: "/etc/token"}, {Name: "B", Variable: "CI_TOKEN"}}, recipe.Secrets)

	written, err := json.Marshal(c)
	require.NoError(t, err)
	again, err := config.Parse(written)
	require.NoError(t, err, string(written))
	assert.Equal(t, c, again)
}

func TestWhatDoesNotGoIntoABuild(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{`"files": {"motd": {"content": ""}}`, `image.files.motd: not the absolute path of a file`},
		{`"files": {"/a/../b": {"content": ""}}`, `image.files."/a/../b": not the absolute path`},
		{`"files": {"/tmp/x": {"content": ""}}`, `image.files."/tmp/x": is where an image keeps nothing`},
		{`"files": {"/etc/x": {}}`, `image.files."/etc/x": has neither content nor from`},
		{`"files": {"/etc/x": {"content": "", "from": "/etc/passwd"}}`, `image.files."/etc/x": has content and from`},
		{`"files": {"/etc/x": {"from": "passwd"}}`, `image.files."/etc/x".from: "passwd" is not an absolute path`},
		{`"files": {"/etc/x": {"from": "/nonexistent"}}`, `image.files."/etc/x".from: cannot read`},
		{`"files": {"/etc/x": {"content": "", "mode": "0888"}}`, `image.files."/etc/x".mode: "0888" is not a mode`},
		{`"files": {"/etc/x": {"content": "", "mode": 644}}`, `image.files."/etc/x".mode: want a string`},
		{`"files": {"/etc/x": {"content": "", "owner": "a:b:c"}}`, `image.files."/etc/x".owner: "a:b:c" is not a user`},
		{`"files": {"/etc/x": {"content": "", "group": "adm"}}`, `image.files."/etc/x".group: unknown key`},
		{`"files": {"/etc/x": "hello"}`, `image.files."/etc/x": want a table`},
		{`"files": ["/etc/x"]`, `image.files: want a table`},
		{`"env": {"A-B": "1"}`, `image.env.A-B: not the name of a variable`},
		{`"env": {"A": 1}`, `image.env.A: want a string, have the number 1`},
		{`"env": {"A": "1"}, "secrets": {"A": "env:A"}`, `image.secrets.A: is in env too`},
		{`"secrets": {"A": "hunter2hunter2"}`, `image.secrets.A: does not say where the secret is`},
		{`"secrets": {"A": "file:hunter2hunter2"}`, `image.secrets.A: does not say where the secret is`},
		{`"secrets": {"A": 1234567890}`, `image.secrets.A: does not say where the secret is`},
		{`"kernel": "-x"`, `image.kernel: "-x" is not a valid name of a package`},
		{`"kernel": "linux-image-amd64", "packages": ["git", "linux-image-rt-amd64"]`,
			`image.packages[1]: "linux-image-rt-amd64" is a kernel`},
		{`"kernel": "linux-image-amd64", "source": "fedora:43"`, `image.kernel: is for Debian and Ubuntu`},
		{`"user_data": "packages: [git]"`,
			`image.user_data: begins neither with the line "#cloud-config" nor with "#!"`},
		{`"user_data": "#cloud-config\npackages: [git"`, `image.user_data: is no YAML`},
		{`"user_data": "#cloud-config\n- a"`, `image.user_data: is no YAML`},
		{`"variant": "extract"`, `image.variant: `},
		{`"variant": "apt", "source": "debian:13"`, `image.variant: contradicts image.source`},
		{`"components": ["main contrib"]`, `image.components[0]: "main contrib" is not a valid name`},
		{`"extra_sources": ["https://x stable main"]`,
			`image.extra_sources[0]: "https://x stable main" is no source of packages`},
		{`"extra_sources": ["deb http://x/"]`, `image.extra_sources[0]: "deb http://x/" is no source of packages`},
		{`"keyring": "/k", "source": "https://x/y"`, `image.keyring: contradicts image.source, which is neither`},
		{`"proxy": "proxy:3128"`, `image.proxy: not the URL of a proxy`},
		{`"proxy": "http://u:hunter2@p:1/x"`, `image.proxy: not the URL of a proxy`},
		{`"proxy": "http://u:hunter2$(x)@p:1"`, `image.proxy: not the URL of a proxy`},
		{`"proxy": "http://localhost:3142"`, `image.proxy: "localhost" is this host's own loopback`},
		{`"proxy": "http://[::1]:3142"`, `image.proxy: "::1" is this host's own loopback`},
		{`"no_proxy": ["a"]`, `image.no_proxy: there is no proxy`},
		{`"proxy": "http://p:1", "no_proxy": ["a,b"]`, `image.no_proxy[0]: "a,b" is not one name`},
		{`"ca_certificates": ["ca.pem"]`, `image.ca_certificates[0]: "ca.pem" is not an absolute path`},
		{`"ca_certificates": ["/nonexistent"]`, `image.ca_certificates[0]: cannot read`},
		{`"ca_certificates": ["/etc/hostname"]`, `image.ca_certificates[0]: "/etc/hostname" has no certificate`},
		{`"secrets": {"A": "env:A"}, "source": "oci:registry.example/x"`,
			`image.secrets: the backend "tart" does not know it`},
	} {
		backend := "qemu"
		if strings.Contains(test.want, "tart") {
			backend = "tart"
		}
		_, err := config.Parse([]byte(`{"backend": "` + backend + `", "image": {` + test.text + `}}`))
		require.ErrorContains(t, err, test.want, test.text)
		require.NotContains(t, err.Error(), "hunter2", "what is wrong may be the secret")
	}
}

func TestContainersHaveNoCloudInit(t *testing.T) {
	for backend, fails := range map[string]bool{"nspawn": true, "qemu": false, "cloudhypervisor": false} {
		_, err := config.Parse([]byte(`{"backend": "` + backend + `", "image": {"user_data": "#cloud-config\n"}}`))
		if fails {
			require.ErrorContains(t, err, `plugin_config.image.user_data: the backend "nspawn" runs no cloud-init`)
		} else {
			require.NoError(t, err)
		}
	}
}

// TestOneImageOrAnother holds what makes another image. A recipe without any of this has
// the digest that it had before there was any of it.
func TestOneImageOrAnother(t *testing.T) {
	digest := func(text string) string {
		c, err := config.Parse([]byte(`{"image": {` + text + `}}`))
		require.NoError(t, err)
		return c.Recipe("").Digest()
	}
	require.Equal(t, digest(``), digest(`"variant": "minbase", "keyring": "/etc/keys.gpg"`))
	require.Equal(t, digest(``), digest(`"files": {}, "env": {}, "secrets": {}`))
	for _, pair := range [][2]string{
		{`"env": {"A": "1"}`, `"env": {"A": "2"}`},
		{`"files": {"/etc/x": {"content": "1"}}`, `"files": {"/etc/x": {"content": "2"}}`},
		{`"files": {"/etc/x": {"content": "1"}}`, `"files": {"/etc/x": {"content": "1", "mode": "0600"}}`},
		{``, `"kernel": "linux-image-amd64"`},
		{``, `"variant": "buildd"`}, {``, `"components": ["main"]`}, {``,
			`"extra_sources": ["deb http://x stable main"]`},
		{``, `"user_data": "#!/bin/sh\ntrue\n"`},
		{`"proxy": "http://p:1"`, `"proxy": "http://q:1"`},
		{`"proxy": "http://p:1"`, `"proxy": "http://p:1", "no_proxy": ["x"]`},
		{`"secrets": {"A": "env:A"}`, `"secrets": {"B": "env:A"}`},
	} {
		require.NotEqual(t, digest(pair[0]), digest(pair[1]), pair)
	}
	require.Equal(t, digest(`"secrets": {"A": "env:A"}`), digest(`"secrets": {"A": "file:/etc/token"}`),
		"neither a secret nor where it is from")
}
