//go:build linux

package nspawn

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

func TestContainersWithoutWarmStepsHaveNothingOfThem(t *testing.T) {
	require.Empty(t, warmFiles(nil))
	require.Empty(t, warmFiles([]image.Commands{{Setting: "image.preset"}, {Setting: "fork.warm"}}))
}

func TestWarmStepsRunInOrderUpToTheFirstThatFails(t *testing.T) {
	dir := t.TempDir()
	files := warmFiles([]image.Commands{
		{Setting: "image.preset", Shell: []string{"echo it\\'s $((1+1)) >" + filepath.Join(dir, "one")}},
		{Setting: "fork.warm", Shell: []string{"exit 0", "echo no; exit 7", "touch " + filepath.Join(dir, "never")}},
	})
	require.Equal(t, warmScript, files[0].Name)
	out, err := exec.Command("sh", "-c", files[0].Content).CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.ExitCode())
	require.Equal(t, "no\nwarm step fork.warm[1]: exit code 7\n", string(out))
	one, err := os.ReadFile(filepath.Join(dir, "one"))
	require.NoError(t, err)
	require.Equal(t, "it's 2\n", string(one))
	require.NoFileExists(t, filepath.Join(dir, "never"))
}

// TestContainersAreWarmWhenTheyAreReady has a step that leaves a process, and one that
// fails.
func TestContainersAreWarmWhenTheyAreReady(t *testing.T) {
	p, recipe := newPool(t, ext4Dir, "warm")
	golden, err := p.Build(t.Context(), recipe, func(string, string) {})
	require.NoError(t, err)
	warm := func(commands ...string) {
		p.Backend.options.Warm = []image.Commands{{Setting: "fork.warm", Shell: commands}}
	}
	warm("sleep 54322 & echo $! >/run/warm", "systemctl is-active multi-user.target; sleep 1; touch /run/late")
	w := p.startFrom(t, golden, "aaaaaaaa")
	w.Output(t, "test -e /run/late && ps -o args= -p $(cat /run/warm) | grep 'sleep 54322'")

	warm("true", "echo no such database; exit 7")
	_, err = p.tryFrom(t, golden, "bbbbbbbb")
	require.ErrorContains(t, err, "no such database")
	require.ErrorContains(t, err, "warm step fork.warm[1]: exit code 7")
	require.ErrorIs(t, err, guest.ErrFault)
}
