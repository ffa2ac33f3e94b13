//go:build linux

package agent

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// inspectWith asks an agent in whose guest these files are, by their names.
func inspectWith(t *testing.T, files map[string]string) error {
	t.Helper()
	client, root, _ := serve(t, &recorder{})
	for name, content := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	return client.Inspect(t.Context())
}

func TestWhatForksMustNotShareIsRefused(t *testing.T) {
	for name, test := range map[string]struct{ content, want string }{
		"proc/7/comm":                          {"ssh-agent\n", "the process ssh-agent, which holds private keys"},
		"proc/8/comm":                          {"sshd\n", "the process sshd, which holds a host key"},
		"proc/9/comm":                          {"dhclient\n", "an address that was leased"},
		"proc/10/comm":                         {"gitlab-runner\n", "a runner's token"},
		"root/.docker/config.json":             {`{"auths":{"r.example":{"auth":"dTpw"}}}`, "/root/.docker/config.json, which"},
		"run/containers/0/auth.json":           {`{"auths":{"r.example":{"identitytoken": "x"}}}`, "the password of a registry"},
		"home/jobs/.netrc":                     {"machine h login l password p\n", "/home/jobs/.netrc"},
		"root/.git-credentials":                {"https://u:p@h\n", "passwords for git"},
		"home/jobs/.ssh/id_ed25519":            {"-----BEGIN OPENSSH PRIVATE KEY-----\n", "a private key"},
		"root/.gnupg/private-keys-v1.d/ab.key": {"x", "a private key"},
		"root/.aws/credentials":                {"[default]\naws_secret_access_key = x\n", "keys of AWS"},
		"root/.config/gcloud/credentials.db":   {"x", "credentials of Google Cloud"},
		"root/.azure/msal_token_cache.json":    {"{}", "credentials of Azure"},
		"root/.kube/config":                    {"users:\n- user:\n    token: x\n", "credentials of a cluster"},
		"root/.npmrc":                          {"//r.example.org/:_authToken=x\n", "the token of a registry"},
		"root/.pypirc":                         {"password = x\n", "the password of an index"},
		"etc/gitlab-runner/config.toml":        {"[[runners]]\n  token = \"x\"\n", "the token of a registered runner"},
		"tmp/krb5cc_0":                         {"x", "Kerberos tickets"},
		"run/systemd/netif/leases/2":           {"ADDRESS=198.18.0.2\n", "an address that was leased"},
	} {
		err := inspectWith(t, map[string]string{name: test.content})
		if assert.Error(t, err, name) {
			assert.ErrorContains(t, err, "inspect: every fork would have: ", name)
			assert.ErrorContains(t, err, test.want, name)
			assert.ErrorIs(t, err, guest.ErrFault)
		}
	}
	err := inspectWith(t, map[string]string{"proc/7/comm": "gpg-agent\n", "root/.git-credentials": "x"})
	require.ErrorContains(t, err, "gpg-agent")
	require.ErrorContains(t, err, "/root/.git-credentials", "all is named at once")
}

func TestWhatForksMayShareIsNotRefused(t *testing.T) {
	require.NoError(t, inspectWith(t, map[string]string{
		"proc/1/comm": "systemd\n", "proc/7/comm": "dockerd\n", "proc/8/comm": "postgres\n", "proc/self/comm": "sshd\n",
		"root/.docker/config.json":      `{"auths":{},"proxies":{}}`,
		"home/jobs/.npmrc":              "registry=https://r.example.org/\n//r.example.org/:_authToken=${TOKEN}\n",
		"etc/gitlab-runner/config.toml": "concurrent = 1\n", "home/jobs/.ssh/id_ed25519.pub": "ssh-ed25519 AAAA\n",
		"root/.git-credentials": "", "root/.aws/credentials/x": "a directory",
	}))
}

// Every pattern of the tables can be read.
func TestTablesOfWhatIsRefusedAreWellFormed(t *testing.T) {
	for _, kind := range confidential {
		for _, name := range kind.names {
			_, err := filepath.Match(name, "x")
			assert.NoError(t, err, name)
		}
		assert.NotEmpty(t, kind.holds)
	}
	const longest = 15 // bytes, of a name that the kernel keeps
	for _, kind := range unshareable {
		for _, name := range kind.names {
			assert.LessOrEqual(t, len(name), longest, name)
		}
		assert.NotEmpty(t, kind.holds)
	}
}

func TestOfflineGuestHasItsNetworkSetUpAgain(t *testing.T) {
	kernel := &recorder{}
	client, _, _ := serve(t, kernel)
	require.NoError(t, client.Network(t.Context()))
	require.NoError(t, client.Offline(t.Context()))
	id := identity(t)
	require.NoError(t, client.Await(t.Context(), guest.Await{User: id.User}))
	require.Equal(t, []string{"network", "leave", "network", usualLink}, kernel.calls)
	kernel.fail = "leave"
	require.ErrorContains(t, client.Offline(t.Context()), "leaving the network: the kernel says no")
}

// TestWhatAStepLeavesRunningGoesOn has it write more than a pipe holds when its step is
// over.
func TestWhatAStepLeavesRunningGoesOn(t *testing.T) {
	client, root, _ := serve(t, &recorder{})
	alive, over := filepath.Join(root, "alive"), filepath.Join(root, "over")
	var output bytes.Buffer
	began := time.Now()
	require.NoError(t, client.Run(t.Context(), "echo started; (while [ ! -e "+over+" ]; do sleep 0.05; done; "+
		"head -c 200000 /dev/zero; echo late >"+alive+") &", &output))
	require.Equal(t, "started\n", output.String())
	require.Less(t, time.Since(began), time.Minute)
	require.NoError(t, os.WriteFile(over, nil, 0o600))
	require.Eventually(t, func() bool { _, err := os.Stat(alive); return err == nil }, time.Minute, 10*time.Millisecond)
	require.NoError(t, client.Run(t.Context(), "true", io.Discard), "nobody else's output got into the line")
}
