//go:build linux

package machines

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/output"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// renewals in the environment has TestMachinesAreRenewedUnderLoad take part, which makes two
// templates of its own.
const renewals = "MAYFLY_TEST_RENEWAL"

// TestMachinesAreRenewedUnderLoad has a pool find an edition that another has built, boot
// a canary and a template of it, and fork workers from the former one meanwhile. The same
// is tested with containers each time.
func TestMachinesAreRenewedUnderLoad(t *testing.T) {
	if os.Getenv(renewals) == "" {
		t.Skip("makes two templates, which takes minutes by emulation: set " + renewals + "=1")
	}
	s := begin(t)
	state := filepath.Join(home, "renewed")
	images, dir := filepath.Join(state, "images"), filepath.Join(state, "pools", poolName())
	former := testrun.Golden(t, images).Digest()
	golden := filepath.Join(images, former)
	newer := testrun.Edition(t, golden, testrun.Present(t))
	shell(t, "mkdir -p "+dir+"; cp -a "+stateDir()+"/acceleration.json "+state)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(state)) })

	records, err := store.Open(dir)
	require.NoError(t, err)
	require.NoError(t, records.SaveServed(store.Served{ImageDigest: former}))
	log := new(output.Buffer)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log)
		}
	})
	config := pluginConfig()
	config["state_dir"] = state
	config["image"] = testrun.Refreshed(t, "git --version")
	plugin, err := runner.Start(s.binary, config, hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: log}))
	require.NoError(t, err)
	t.Cleanup(plugin.Kill)
	jobs := make(map[string]int)
	load := runner.Load{Idle: 1, Busy: 1, Script: "cat /etc/mayfly-step", Done: func(task runner.Task) bool {
		record, err := records.Load(task.Worker)
		require.NoError(t, err)
		jobs[record.ImageDigest]++
		_, err = os.Stat(golden)
		return jobs[newer] > 1 && os.IsNotExist(err)
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 4*testrun.Patience(t))
	defer cancel()
	began := time.Now()
	carried, err := load.Run(ctx, plugin)
	require.NoError(t, err, log)
	require.GreaterOrEqual(t, carried.Least, load.Idle)
	require.Empty(t, carried.Unasked)
	require.NotZero(t, jobs[former])
	require.Len(t, jobs, 2, "of no other image")
	templates, err := filepath.Glob(filepath.Join(dir, "templates", "*", "template.json"))
	require.NoError(t, err)
	require.Len(t, templates, 1, "that of the former image is gone")
	t.Logf("%d jobs, of which %d by the renewed image, in %s", carried.Jobs, jobs[newer], time.Since(began))
}
