//go:build linux

package nspawn

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/registry"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// A host that cannot build has its workers from what another has pushed.
func TestWorkersComeFromATreeThatWasPulled(t *testing.T) {
	p, recipe := newPool(t, ext4Dir, "pushed")
	s, err := share()
	require.NoError(t, err)
	server := registry.StartEncrypted(t)
	reference := server.Host + "/mayfly/containers:1"
	push := exec.CommandContext(t.Context(), s.binary, "image", "push", "--image", recipe.Digest(),
		"--state-dir", p.state, reference)
	push.Stderr = os.Stderr
	trusting := append(os.Environ(), "SSL_CERT_FILE="+server.Certificate)
	push.Env = trusting
	out, err := push.Output()
	require.NoError(t, err)
	require.Regexp(t, "^"+server.Host+"/mayfly/containers@sha256:[0-9a-f]{64}\n$", string(out))
	sent := server.Counts().Sent

	other, err := world(t.TempDir(), "pulled")
	require.NoError(t, err)
	t.Cleanup(func() { requireNothingLeft(t, other) })
	config := filepath.Join(other.state, "config.toml")
	before, _, _ := strings.Cut(runnerConfig(), "run = ")
	_, after, _ := strings.Cut(runnerConfig(), testrun.Inputs)
	text := fmt.Sprintf("%ssource = \"oci:%s\"\n%s", before, reference, after)
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	const job = "sudo -n id -u; cat /etc/mayfly-step; stat -c %a /usr/bin/sudo"
	try := exec.CommandContext(t.Context(), s.binary, "try", "--json", "--config", config,
		"--state-dir", other.state, "--", job)
	try.Stderr = os.Stderr
	try.Env = trusting
	show := sandbox.Hide(t, "mmdebstrap")
	out, err = try.Output()
	show()
	require.NoError(t, err, string(out))
	outcome, err := runner.ParseOutcome(out)
	require.NoError(t, err)
	require.Equal(t, recipe.Digest(), outcome.Image.Digest)
	require.Empty(t, outcome.LeftOver)
	require.Len(t, outcome.Jobs, 1)
	require.True(t, strings.HasPrefix(outcome.Jobs[0].Stdout, "0\na: b\n4755\n"), outcome.Jobs[0].Stdout)
	t.Logf("%d bytes were sent; the job said:\n%s", sent, outcome.Jobs[0].Stdout)

	// File by file it is what was built.
	images := cache.New(filepath.Join(p.state, "images"))
	built, _, err := images.Get(recipe.Digest())
	require.NoError(t, err)
	pulled := image.Golden{Dir: filepath.Join(other.state, "images", recipe.Digest())}
	require.Equal(t, listing(t, built), listing(t, pulled))
}

// listing is all that a tree has, with digests of files.
func listing(t *testing.T, golden image.Golden) string {
	t.Helper()
	find := exec.CommandContext(t.Context(), "sh", "-ec",
		`cd "$1"; find . -printf '%p %y %m %U %G %n %T@ %l\n' | sort; getcap -r . | sort
			find . -type f -print0 | sort -z | xargs -0 sha256sum`, "sh", golden.Tree())
	out, err := find.Output()
	require.NoError(t, err)
	return string(out)
}
