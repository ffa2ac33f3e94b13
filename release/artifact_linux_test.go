package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting-artifact/pkg/installer"
	"gitlab.com/gitlab-org/fleeting/fleeting-artifact/pkg/releaser"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/registry"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// repositoryHere is on port 80 of the sandbox, since a plugin's repository has no port.
const repositoryHere = "127.0.0.1/ci/mayfly"

// TestRunnerInstallsThePlugin sends the release to a registry as `make publish` does, and
// installs it from there as `gitlab-runner fleeting install` does, by fleeting's own code.
func TestRunnerInstallsThePlugin(t *testing.T) {
	sandbox.Need(t)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("FLEETING_PLUGIN_PATH", t.TempDir())
	r := makeIn(t, first(), "1.2.3")
	registry.StartAt(t, "127.0.0.1:80")
	_, err := releaser.Release(t.Context(), repositoryHere+":1.2.3", releaser.WithDirectory(r.dir))
	require.NoError(t, err)

	for _, reference := range []string{repositoryHere + ":latest", repositoryHere + ":1", repositoryHere + ":1.2.3"} {
		_, err := installer.LookPath(reference, t.TempDir())
		require.ErrorIs(t, err, installer.ErrPluginNotFound)
		require.NoError(t, installer.Install(t.Context(), reference))
		path, err := installer.LookPath(reference, "")
		require.NoError(t, err)
		requireProgram(t, path, "1.2.3")
	}
	err = installer.Install(t.Context(), repositoryHere+":2")
	require.Error(t, err, "there is no such version")
}

// TestProgramInstallsItself as it does in a container of the artifact.
func TestProgramInstallsItself(t *testing.T) {
	plugins := t.TempDir()
	t.Setenv("FLEETING_PLUGIN_PATH", plugins)
	r := makeIn(t, first(), "1.2.3")
	out, err := exec.Command(filepath.Join(r.dir, here.String(), "plugin"), "bootstrap", repositoryHere).CombinedOutput()
	require.NoError(t, err, "%s", out)
	path, err := installer.LookPath(repositoryHere+":latest", "")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(strings.TrimSpace(string(out)), "plugin"), path)
	requireProgram(t, path, "1.2.3")
}

// requireProgram runs what is at a path.
func requireProgram(t *testing.T, path, version string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.True(t, info.Mode().Perm()&0o111 != 0)
	out, err := exec.Command(path, "version").CombinedOutput()
	require.NoError(t, err)
	require.Contains(t, string(out), version)
}
