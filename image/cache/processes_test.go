package cache

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// childDir in the environment makes the test binary a process that builds in
// that directory, and says on its standard output when it is inside its build.
const childDir = "MAYFLY_TEST_CACHE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(buildAsChild(dir))
	}
	if dir := os.Getenv(layersOfChild); dir != "" {
		os.Exit(keepAsChild(dir))
	}
	os.Exit(m.Run())
}

// buildAsChild stays inside its build until its standard input ends.
func buildAsChild(dir string) int {
	golden, err := New(dir).Build(context.Background(), recipe, func(ctx context.Context, work string) (string, error) {
		fmt.Println("building")
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			return "", err
		}
		return builder(fmt.Sprint(os.Getpid()))(ctx, work)
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("done", golden.Digest)
	return 0
}

type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Scanner
}

func start(t *testing.T, dir string) child {
	t.Helper()
	return startAs(t, childDir, dir)
}

// startAs starts the process that a variable asks for.
func startAs(t *testing.T, variable, dir string) child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+dir)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	return child{cmd, stdin, bufio.NewScanner(stdout)}
}

func (c child) line() string {
	c.stdout.Scan()
	return c.stdout.Text()
}

// hasOpen says whether the child has a file open; where the system does not
// tell, it says yes.
func (c child) hasOpen(path string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid)
	descriptors, err := os.ReadDir(dir)
	return err != nil || slices.ContainsFunc(descriptors, func(descriptor os.DirEntry) bool {
		target, _ := os.Readlink(filepath.Join(dir, descriptor.Name()))
		return target == path
	})
}

func TestOfTwoProcessesOneBuilds(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	require.Equal(t, "building", first.line())
	second := start(t, dir)
	require.Eventually(t, func() bool { return second.hasOpen(New(dir).lockFile(recipe.Digest())) }, time.Minute, time.Millisecond)
	require.NoError(t, first.stdin.Close())

	require.Equal(t, "done "+recipe.Digest(), first.line())
	require.Equal(t, "done "+recipe.Digest(), second.line(), "the second built as well")
	require.NoError(t, first.cmd.Wait())
	require.NoError(t, second.cmd.Wait())
	disk, err := os.ReadFile(filepath.Join(dir, recipe.Digest(), image.DiskFile))
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(first.cmd.Process.Pid), string(disk))
}

func TestKilledBuildIsSweptByTheNext(t *testing.T) {
	dir := t.TempDir()
	killed := start(t, dir)
	require.Equal(t, "building", killed.line())
	require.NoError(t, killed.cmd.Process.Kill())
	killed.cmd.Wait()
	left := directories(t, New(dir))
	require.Len(t, left, 1)
	require.Regexp(t, building, left[0])

	_, err := New(dir).Build(t.Context(), other, builder("golden")) // the recipe has changed since
	require.NoError(t, err)
	require.Equal(t, []string{other.Digest()}, directories(t, New(dir)))
}

func TestLivingBuildIsNotSwept(t *testing.T) {
	dir := t.TempDir()
	living := start(t, dir)
	require.Equal(t, "building", living.line())
	_, err := New(dir).Build(t.Context(), other, builder("golden"))
	require.NoError(t, err)
	require.NoError(t, living.stdin.Close())
	require.Equal(t, "done "+recipe.Digest(), living.line())
	require.NoError(t, living.cmd.Wait())
}

func TestWaitingForAnotherBuildEndsWithTheContext(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	require.Equal(t, "building", first.line())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := New(dir).Build(ctx, recipe, builder("x"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
