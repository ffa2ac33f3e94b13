package plugin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	program = "fleeting-plugin-mayfly"
	source  = "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cmd/fleeting-plugin-mayfly"
	// soon is how long a test waits for what should take moments.
	soon = 30 * time.Second
)

// binary is the program, built once for all tests, without cgo, as a release
// is.
var binary string

// TestMain also plays the runner, for tests that need one that they can kill.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == runnerRole {
		playRunner()
		return
	}
	os.Exit(withBinary(m.Run))
}

func withBinary(run func() int) int {
	dir, err := os.MkdirTemp("", "mayfly-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, program)
	build := exec.Command("go", "build", "-o", binary, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building the program:", err)
		return 1
	}
	return run()
}

// shortDir is a directory whose path leaves room for those of sockets, which
// that of t.TempDir, with the test's name in it, does not.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mayfly-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// pluginConfig is synthetic workers below a state directory.
func pluginConfig(stateDir string) map[string]any {
	return map[string]any{"backend": "synthetic", "state_dir": stateDir}
}

func configJSON(t *testing.T, config map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(config)
	require.NoError(t, err)
	return text
}

// requireNothingLeft fails when a plugin process, or anything that it made,
// is still there.
func requireNothingLeft(t *testing.T, stateDir string) {
	t.Helper()
	workers, err := filepath.Glob(filepath.Join(stateDir, "pools", "*", "workers", "*"))
	require.NoError(t, err)
	require.Empty(t, workers, "worker directories")
	require.Eventually(t, func() bool { return !alive(pluginPID(t, stateDir)) }, soon, 20*time.Millisecond, "the plugin process")
}

// pluginPID is the process that took the default pool last.
func pluginPID(t *testing.T, stateDir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(stateDir, "pools", "default", "lock"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	return pid
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// runner is a process that plays GitLab Runner, in a process group of its own
// with the plugin that it starts.
type runner struct {
	t       *testing.T
	command *exec.Cmd
	stdin   io.Writer
	stdout  *bufio.Scanner
}

// startRunner returns once the plugin is initialised.
func startRunner(t *testing.T, stateDir string) *runner {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	command := exec.Command(self, runnerRole, binary, string(configJSON(t, pluginConfig(stateDir))))
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := command.StdinPipe()
	require.NoError(t, err)
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	r := &runner{t: t, command: command, stdin: stdin, stdout: bufio.NewScanner(stdout)}
	r.expect("ready")
	return r
}

// tell has the runner do something, and waits for it to say that it is done.
func (r *runner) tell(what string) {
	r.t.Helper()
	_, err := fmt.Fprintln(r.stdin, what)
	require.NoError(r.t, err)
	r.expect(what + " done")
}

func (r *runner) expect(line string) {
	r.t.Helper()
	require.True(r.t, r.stdout.Scan(), "the runner has ended: %v", r.stdout.Err())
	require.Equal(r.t, line, r.stdout.Text())
}

// signalGroup does what a service manager does to all processes of a service.
func (r *runner) signalGroup(signals ...syscall.Signal) {
	r.t.Helper()
	for _, signal := range signals {
		require.NoError(r.t, syscall.Kill(-r.command.Process.Pid, signal))
	}
}
