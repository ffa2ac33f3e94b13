//go:build linux

package draft

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// binaries are an agent and a gitlab-runner, and a tree to install them in.
func binaries(t *testing.T) (recipe image.Recipe, golden image.Golden) {
	t.Helper()
	golden.Dir = t.TempDir()
	recipe.Agent, recipe.GitLabRunner = filepath.Join(golden.Dir, "agent"), filepath.Join(golden.Dir, "runner")
	write(t, recipe.Agent, "agent 1")
	write(t, recipe.GitLabRunner, "runner 1")
	require.NoError(t, os.MkdirAll(filepath.Join(golden.Tree(), "usr/local"), 0o755))
	return recipe, golden
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// installers install the binaries of a recipe in a tree, in a container's way and in
// that of a disk's boot.
var installers = map[string]func(*testing.T, image.Recipe, image.Golden){
	"tree": func(t *testing.T, recipe image.Recipe, golden image.Golden) {
		require.NoError(t, Install(t.Context(), recipe, golden))
	},
	"disk": func(t *testing.T, recipe image.Recipe, golden image.Golden) {
		seed := filepath.Join(golden.Dir, "seed")
		require.NoError(t, os.RemoveAll(seed))
		require.NoError(t, os.Mkdir(seed, 0o700))
		require.NoError(t, os.Link(recipe.Agent, filepath.Join(seed, agentFile)))
		if recipe.GitLabRunner != "" {
			require.NoError(t, os.Link(recipe.GitLabRunner, filepath.Join(seed, runnerFile)))
		}
		script := strings.NewReplacer("/run/mayfly-seed", seed, "/usr/local",
			filepath.Join(golden.Tree(), "usr/local")).Replace(installAgent)
		script = "mount() { :; }; umount() { :; }; blkid() { :; }\n" + script
		out, err := exec.Command("sh", "-c", script).CombinedOutput()
		require.NoError(t, err, "%s", out)
	},
}

// A build that goes on from a layer has the same outcome as one that does not.
func TestBinariesAreReplacedUnlessAStepHasChangedThem(t *testing.T) {
	need.Programs(t, "sh")
	steps := map[string]struct {
		step func(t *testing.T, runner string)
		want string
	}{
		"no step": {func(*testing.T, string) {}, "runner 2"},
		"another": {func(t *testing.T, runner string) { write(t, runner, "the user's") }, "the user's"},
		"an old one": {func(t *testing.T, runner string) {
			write(t, runner, "the user's")
			require.NoError(t, os.Chtimes(runner, time.Unix(1, 0), time.Unix(1, 0)))
		}, "the user's"},
		"removed": {func(t *testing.T, runner string) { require.NoError(t, os.Remove(runner)) }, ""},
	}
	for way, install := range installers {
		for name, c := range steps {
			t.Run(way+", "+name, func(t *testing.T) {
				recipe, golden := binaries(t)
				agent, runner := filepath.Join(golden.Tree(), guest.AgentPath), filepath.Join(golden.Tree(), runnerPath)
				require.NoError(t, os.MkdirAll(filepath.Dir(runner), 0o755))
				install(t, recipe, golden)
				require.Equal(t, "agent 1", read(t, agent))
				require.Equal(t, "runner 1", read(t, runner))
				info, err := os.Stat(runner)
				require.NoError(t, err)
				require.EqualValues(t, 0o755, info.Mode())

				c.step(t, runner)
				write(t, recipe.Agent, "agent 2")
				write(t, recipe.GitLabRunner, "runner 2")
				install(t, recipe, golden)
				require.Equal(t, "agent 2", read(t, agent))
				if c.want == "" {
					require.NoFileExists(t, runner)
					return
				}
				require.Equal(t, c.want, read(t, runner))
			})
		}
	}
}

func TestBinariesBelongToTheTreesOwnerAndStayInIt(t *testing.T) {
	need.Root(t)
	recipe, golden := binaries(t)
	require.NoError(t, os.Chown(golden.Tree(), 1000000, 1000001))
	require.NoError(t, Install(t.Context(), recipe, golden))
	for _, path := range []string{guest.AgentPath, runnerPath, runnerMark, "/usr/local/lib", "/usr/local/bin"} {
		info, err := os.Lstat(filepath.Join(golden.Tree(), path))
		require.NoError(t, err)
		stat := info.Sys().(*syscall.Stat_t)
		require.EqualValues(t, 1000000, stat.Uid, path)
		require.EqualValues(t, 1000001, stat.Gid, path)
	}

	outside := t.TempDir()
	require.NoError(t, os.RemoveAll(filepath.Join(golden.Tree(), "usr/local/lib")))
	require.NoError(t, os.Symlink(outside, filepath.Join(golden.Tree(), "usr/local/lib")))
	require.Error(t, Install(t.Context(), recipe, golden))
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// The key of a layer changes with what is put into a base.
func TestIngredientsAreWhatADraftIsMadeOf(t *testing.T) {
	ask := func(recipe image.Recipe) string {
		t.Helper()
		ingredients, err := Maker{}.Ingredients(context.Background(), recipe)
		require.NoError(t, err)
		return ingredients
	}
	cloud := image.Recipe{Source: image.Source{Kind: image.HTTPS}, User: "mayfly", Packages: []string{"make"}}
	require.Equal(t, ask(cloud), ask(cloud))
	for _, part := range []string{"openssh-server", "make", "mayfly", "systemd-run", "ExecStartPre"} {
		require.Contains(t, ask(cloud), part)
	}
	other := cloud
	other.User = "root"
	require.NotEqual(t, ask(cloud), ask(other))
	_, err := TreeIngredients(t.Context(), cloud)
	require.ErrorContains(t, err, "image.source")

	need.Programs(t, "mmdebstrap", "apt-config")
	packages := image.Recipe{Source: image.Source{Kind: image.Debootstrap, Suite: "bookworm"}, User: "mayfly",
		Packages: []string{"gcc"}}
	for _, part := range []string{"--include=", "gcc", "cloud-init", "bookworm", "URIs: "} {
		require.Contains(t, ask(packages), part)
	}
	tree, err := TreeIngredients(t.Context(), packages)
	require.NoError(t, err)
	require.NotContains(t, tree, "cloud-init")
}
