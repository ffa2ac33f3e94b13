//go:build linux

package machines

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

const (
	// moments bounds what no machine has to do anything for.
	moments = time.Minute
	// glance is the pause between two looks.
	glance = 20 * time.Millisecond
)

// user is the account that jobs log in to where nobody names another.
const user = "mayfly"

// home is new for each run: all that the tests share is in it.
var home string

// stateDir is the program's state directory for all tests.
func stateDir() string { return filepath.Join(home, "state") }

// TestMain also plays the runner, for tests that need one that they can kill.
func TestMain(m *testing.M) {
	if runner.Play() {
		return
	}
	os.Exit(sandbox.Main(m, func() func() {
		home = testrun.Directory()
		return tearDown
	}))
}

// tearDown also ends the machines that a test has left that failed.
func tearDown() {
	_ = exec.Command(filepath.Join(home, testrun.ProgramName), "gc", "--state-dir", stateDir()).Run()
}

// poolName is that of the plugins' pool. No other pool on this machine has it: things
// in the kernel are told apart by it.
func poolName() string { return fmt.Sprintf("m%08x", poolNumber) }

var poolNumber = rand.Uint32()

// shared is what the first test makes for all.
type shared struct {
	binary string
	digest string // of the golden image
}

var made *shared

func share(t *testing.T) shared {
	t.Helper()
	if made != nil {
		return *made
	}
	s := shared{binary: filepath.Join(home, testrun.ProgramName)}
	require.NoError(t, os.Link(testrun.Program(t), s.binary))
	require.NoError(t, os.WriteFile(configFile(), []byte(runnerConfig()), 0o600))
	s.digest = testrun.Golden(t, filepath.Join(stateDir(), "images")).Digest()
	built := s.command(t, "image", "build", "--config", configFile())
	require.Equal(t, s.digest, strings.TrimSpace(string(built)), "the configuration asks for another image")
	s.makeTemplate(t)
	made = &s
	return s
}

// makeTemplate has the pool's template made before any test measures a worker. Those
// that are asked for meanwhile wait for it, but for one that boots where there are
// processors for both. One is deleted at once, that one if there is one; the other is a fork,
// unless this machine is so slow that the template was late.
func (s shared) makeTemplate(t *testing.T) {
	t.Helper()
	plugin := s.launch(t)
	require.NoError(t, plugin.Initialise(t.Context()))
	const asked = 2
	require.NoError(t, plugin.Grow(t.Context(), asked))
	wait := asked
	if runtime.NumCPU() > 1 {
		wait--
	}
	var deleted []string
	await(t, moments, "workers that wait for the template", func() bool {
		waiting := 0
		for _, worker := range s.list(t) {
			if worker.State == "creating" && strings.HasPrefix(worker.Reason, "waiting for the template") {
				waiting++
			} else {
				deleted = []string{worker.ID}
			}
		}
		return waiting == wait
	})
	if wait == asked {
		states, err := plugin.States(t.Context())
		require.NoError(t, err)
		deleted = slices.Collect(maps.Keys(states))[:1]
	}
	_, err := plugin.Decrease(t.Context(), deleted)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), moments)
	defer cancel()
	require.NoError(t, plugin.AwaitDeleted(ctx, deleted[0]))

	ids, err := plugin.AwaitRunning(patiently(t))
	require.NoError(t, err)
	require.Len(t, ids, asked-1)
	records, err := store.Look(filepath.Join(stateDir(), "pools", poolName()))
	require.NoError(t, err)
	record, err := records.Load(ids[0])
	require.NoError(t, err)
	require.Empty(t, record.Reason)
	if waited := record.Phases[pool.PhaseWaitTemplate]; waited < (4 * time.Minute).Seconds() {
		require.Equal(t, backend.Fork, record.How)
	}
	await(t, testrun.Patience(t), "the template", func() bool {
		found, err := filepath.Glob(filepath.Join(stateDir(), "pools", poolName(), "templates/*/template.json"))
		require.NoError(t, err)
		return len(found) == 1
	})
	require.NoError(t, plugin.Stop(patiently(t)))
}

// listed is what ps tells of a worker.
type listed struct {
	ID, State, How, Reason string

	PSS     int64 `json:"pss_bytes"`
	Private int64 `json:"private_bytes"`
	Denied  *int  `json:"denied_packets"`
}

func (s shared) list(t *testing.T) (all []listed) {
	t.Helper()
	require.NoError(t, json.Unmarshal(s.command(t, "ps", "--json", "--config", configFile()), &all))
	return all
}

// begin skips the test where there can be no machines, and has it fail at its
// end when anything is left of them.
func begin(t *testing.T) shared {
	t.Helper()
	qemu := map[string]string{"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[runtime.GOARCH]
	sandbox.Need(t, qemu, "qemu-img", "mmdebstrap", "mkfs.ext4", "go", "ip", "nft")
	s := share(t)
	t.Cleanup(func() { requireNothingLeft(t) })
	return s
}

// pluginConfig asks for small machines, made from the golden image of the run.
func pluginConfig() map[string]any {
	return map[string]any{
		"backend": "qemu", "state_dir": stateDir(), "pool": poolName(),
		"image":   testrun.InputsJSON(),
		"machine": map[string]any{"cpus": 1, "memory": "512MiB", "disk": testrun.DiskSize},
		// A resolver that refuses at once: a login looks names up, and would wait.
		"network": map[string]any{"ipv6": "nat", "dns": []string{sandbox.Internet}},
	}
}

func configFile() string { return filepath.Join(home, "config.toml") }

// runnerConfig is a config.toml for the same machines, in the words of the
// fleetingd plugin.
func runnerConfig() string {
	steps, _ := json.Marshal(testrun.Steps) // strings cannot fail, and TOML reads JSON's
	return fmt.Sprintf(`
[[runners]]
  name = "machines"
  executor = "instance"
  [runners.autoscaler]
    plugin = %q
    capacity_per_instance = 1
    max_use_count = 1
    max_instances = 3
    [runners.autoscaler.plugin_config]
      vm_disk_directory = %q
      vm_subnet = "10.86.7."
      vm_num_cpu_cores = 1
      vm_memory_mb = 512
      vm_disk_size_gb = 4
      vm_prebuild_cloudinit_extra_cmds = %s
      vm_enable_virtio_console = true
      [runners.autoscaler.plugin_config.image]%s
`, testrun.ProgramName, stateDir(), steps, testrun.Inputs)
}

// start starts a plugin that is not initialised, and ends it as a runner does
// when the test ends.
func (s shared) start(t *testing.T) *runner.Plugin {
	t.Helper()
	plugin := s.launch(t)
	t.Cleanup(func() { require.NoError(t, plugin.Stop(patiently(t))) })
	return plugin
}

// launch starts a plugin that the test ends itself.
func (s shared) launch(t *testing.T) *runner.Plugin {
	t.Helper()
	log := hclog.New(&hclog.LoggerOptions{Name: t.Name(), Level: hclog.Info, Output: os.Stderr})
	plugin, err := runner.Start(s.binary, pluginConfig(), log)
	require.NoError(t, err)
	t.Cleanup(plugin.Kill)
	return plugin
}

// startWith starts a plugin with n workers that run.
func (s shared) startWith(t *testing.T, n int) (plugin *runner.Plugin, ids []string) {
	t.Helper()
	plugin = s.start(t)
	require.NoError(t, plugin.Initialise(t.Context()))
	return plugin, grow(t, plugin, n)
}

// grow adds n workers to a plugin that has none, and waits until they run.
func grow(t *testing.T, plugin *runner.Plugin, n int) (ids []string) {
	t.Helper()
	require.NoError(t, plugin.Grow(t.Context(), n))
	ids, err := plugin.AwaitRunning(patiently(t))
	require.NoError(t, err)
	require.Len(t, ids, n)
	return ids
}

// patiently returns a context that serves in a test's clean-up too.
func patiently(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testrun.Patience(t))
	t.Cleanup(cancel)
	return ctx
}

// await looks again and again, on the test's own goroutine, where done may fail
// the test.
func await(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(glance) {
		require.False(t, time.Now().After(deadline), "%s: not within %s", what, limit)
	}
}

// identify is a script that says which machine it is on; see requireIdentity.
const identify = "hostname; cat /proc/sys/kernel/random/boot_id"

// requireIdentity wants the output of identify to be that of a worker, and
// that of a machine with a kernel of its own.
func requireIdentity(t *testing.T, worker, said string) {
	t.Helper()
	words := strings.Fields(said)
	require.Len(t, words, 2, said)
	require.Equal(t, worker, words[0])
	require.Regexp(t, `^[0-9a-f-]{36}$`, words[1])
	host, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	require.NoError(t, err)
	require.NotEqual(t, strings.TrimSpace(string(host)), words[1])
}

// command runs the program with the runner's configuration. What it says to
// people goes to the test's output.
func (s shared) command(t *testing.T, args ...string) (stdout []byte) {
	t.Helper()
	command := exec.CommandContext(patiently(t), s.binary, args...)
	command.Stderr = os.Stderr
	stdout, err := command.Output()
	require.NoError(t, err, "%v: %s", args, stdout)
	return stdout
}

// shell runs a script on the host.
func shell(t *testing.T, script string) string {
	t.Helper()
	var out bytes.Buffer
	command := exec.CommandContext(patiently(t), "sh", "-ec", script)
	command.Stdout, command.Stderr = &out, &out
	require.NoError(t, command.Run(), "%s\n%s", script, &out)
	return out.String()
}
