//go:build linux

package nspawn

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/output"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// old is a pool in a state directory of its own, whose golden image is of no edition.
type old struct {
	*pool
	t       *testing.T
	program string
	// golden is the directory of that image.
	golden string
	log    *output.Buffer
}

func newOld(t *testing.T, name string) old {
	t.Helper()
	state := filepath.Join(ext4Dir(), name)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(state)) })      // after all that looks what is left there
	p, recipe := newPool(t, func() string { return state }, "default") // which is where runner.PluginPID looks
	s, err := share()
	require.NoError(t, err)
	golden := filepath.Join(state, "images", recipe.Digest())
	require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o700))
	require.NoError(t, run("cp", "-al", filepath.Join(ext4Dir(), "images", recipe.Digest()), golden))
	records, err := store.Open(p.dir)
	require.NoError(t, err)
	require.NoError(t, records.SaveServed(store.Served{ImageDigest: recipe.Digest()}))
	return old{pool: p, t: t, program: s.binary, golden: golden, log: new(output.Buffer)}
}

// start starts the program with a pool whose image is to be renewed at once. No image
// is kept that nobody uses.
func (o old) start(check ...string) *runner.Plugin {
	o.t.Helper()
	plugin, err := runner.Start(o.program, map[string]any{
		"backend": "nspawn", "state_dir": o.state, "pool": o.name,
		"image":   testrun.Refreshed(o.t, check...),
		"machine": map[string]any{"cpus": 1, "memory": "512MiB"},
	}, hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: o.log}))
	require.NoError(o.t, err)
	o.t.Cleanup(plugin.Kill)
	return plugin
}

// imageOf is the digest of the image that a worker is of.
func (o old) imageOf(worker string) string {
	o.t.Helper()
	records, err := store.Look(o.dir)
	require.NoError(o.t, err)
	record, err := records.Load(worker)
	require.NoError(o.t, err)
	return record.ImageDigest
}

// requireServed has a worker be made, which is to be of the image that was there first.
func (o old) requireServed(plugin *runner.Plugin) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), openLimit)
	defer cancel()
	require.NoError(o.t, plugin.Grow(ctx, 1))
	ids, err := plugin.AwaitRunning(ctx)
	require.NoError(o.t, err)
	require.Equal(o.t, filepath.Base(o.golden), o.imageOf(ids[0]))
}

// says is what a command of the program prints.
func (o old) says(arguments ...string) string {
	o.t.Helper()
	out, err := exec.CommandContext(o.t.Context(), o.program,
		append(arguments, "--state-dir", o.state)...).CombinedOutput()
	require.NoError(o.t, err, string(out))
	return string(out)
}

// images are the directories of images, finished or not; layers are not among them.
func (o old) images() (names []string) {
	o.t.Helper()
	found, err := filepath.Glob(filepath.Join(o.state, "images", "[0-9a-f]*"))
	require.NoError(o.t, err)
	building, err := filepath.Glob(filepath.Join(o.state, "images", ".building-*"))
	require.NoError(o.t, err)
	for _, path := range append(found, building...) {
		names = append(names, filepath.Base(path))
	}
	return names
}

// TestContainersAreRenewedUnderLoad has the program find an edition that another has
// built, and try it, while the runner's own scaling loop gives jobs to workers.
func TestContainersAreRenewedUnderLoad(t *testing.T) {
	o := newOld(t, "renewed")
	former := filepath.Base(o.golden)
	newest := testrun.Edition(t, o.golden, testrun.Present(t))
	// The renewal waits for whoever builds until a job was done by the former image.
	building, err := filelock.TryAcquire(filepath.Join(filepath.Dir(o.golden), ".lock-"+newest))
	require.NoError(t, err)
	require.NotNil(t, building)
	built := sync.OnceFunc(func() { require.NoError(t, building.Release()) })
	defer built()
	plugin := o.start("git --version", "sudo -n true")
	newer := 0
	load := runner.Load{Idle: 2, Busy: 1, Script: "cat /etc/mayfly-step", Done: func(task runner.Task) bool {
		require.Equal(t, "a: b\n", task.Stdout)
		if o.imageOf(task.Worker) != former {
			newer++
		} else {
			require.Zero(t, newer, "the oldest workers come first")
			built()
		}
		_, err := os.Stat(o.golden)
		return newer > 1 && os.IsNotExist(err)
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	carried, err := load.Run(ctx, plugin)
	require.NoError(t, err, o.log)
	require.GreaterOrEqual(t, carried.Least, load.Idle)
	require.Empty(t, carried.Unasked)
	require.Greater(t, carried.Jobs, newer, "some were done by the former image")
	require.Contains(t, o.log.String(), "golden image is renewed")
	require.Len(t, o.images(), 1)
	require.NotContains(t, o.says("image", "list"), former)
	t.Log(carried.Jobs, "jobs,", newer, "of them by the renewed image")
}

func TestContainersWhoseCheckFailsAreNotServed(t *testing.T) {
	o := newOld(t, "check")
	planted := testrun.Edition(t, o.golden, testrun.Present(t))
	plugin := o.start("true", "echo no such tool; exit 3")
	require.NoError(t, plugin.Initialise(t.Context()))
	failed := func() bool { return strings.Contains(o.log.String(), "renewing the golden image failed") }
	require.Eventually(t, failed, patience, 20*time.Millisecond, o.log)
	require.NotContains(t, o.images(), planted, "the next try makes another one")
	o.requireServed(plugin)
	for _, command := range []string{"ps", "image list"} {
		said := o.says(strings.Fields(command)...)
		require.Contains(t, said, "image "+filepath.Base(o.golden), command)
		require.Contains(t, said, "image.check[1]: exit code 3", command)
	}
	require.NoError(t, plugin.Stop(t.Context()))
}

// TestAKilledRenewalLeavesNothing kills the program while it builds, and while it tries,
// the next edition.
func TestAKilledRenewalLeavesNothing(t *testing.T) {
	o := newOld(t, "killed")
	plant := sync.OnceFunc(func() { testrun.Edition(t, o.golden, testrun.Present(t)) })
	for _, stage := range []struct {
		name  string
		begin func()
		under func() bool
	}{
		{"building", func() {}, func() bool {
			return slices.ContainsFunc(o.images(),
				func(name string) bool { return strings.HasPrefix(name, ".building-") })
		}},
		{"a canary", plant, func() bool { return strings.Contains(o.says("ps"), " canary ") }},
	} {
		stage.begin()
		plugin := o.start("sleep 600")
		require.NoError(t, plugin.Initialise(t.Context()))
		for began := time.Now(); !stage.under(); time.Sleep(50 * time.Millisecond) { // on the test's own goroutine
			require.Less(t, time.Since(began), openLimit, stage.name)
		}
		pid := runner.PluginPID(t, o.state)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		require.Eventually(t, func() bool { return !runner.Alive(pid) }, patience, 10*time.Millisecond)
		o.says("gc")
		requireNothingLeft(t, o.pool)
		for _, name := range o.images() {
			require.False(t, strings.HasPrefix(name, "."), "%s: %s", stage.name, name)
		}
	}
	// What was not tried to its end is not served.
	plugin := o.start("sleep 600")
	require.NoError(t, plugin.Initialise(t.Context()))
	o.requireServed(plugin)
	require.NoError(t, plugin.Stop(t.Context()))
}
