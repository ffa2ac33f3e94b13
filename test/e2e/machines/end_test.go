//go:build linux

package machines

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/inventory"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// A machine that ends while it runs is reported and removed, although nobody
// asked for that.
func TestMachineThatEndsIsNoticed(t *testing.T) {
	s := begin(t)
	plugin, ids := s.startWith(t, 2)
	t.Run("while it runs, ps tells its memory", func(t *testing.T) { requireMemory(t, s, ids) })
	t.Run("while it runs, ps tells what it was denied", func(t *testing.T) {
		// It goes on for as long as a slow machine may take to send anything.
		const try = "nohup timeout 120 bash -c 'echo hello >/dev/udp/10.0.0.1/9; echo hello >/dev/tcp/10.0.0.1/80' >/dev/null 2>&1 </dev/null &"
		_, err := plugin.Run(patiently(t), ids[0], try)
		require.NoError(t, err)
		await(t, testrun.Patience(t), "two packets that are denied", func() bool { return denied(t, s, ids[0]) >= 2 })
	})
	t.Run("killed from outside", func(t *testing.T) {
		job := beginJob(t, plugin, ids[0])
		killMachine(t, ids[0])
		requireNoticed(t, plugin, ids[0], ids[1])
		err := <-job
		require.Error(t, err, "a job must not outlive its machine")
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("powered off from inside", func(t *testing.T) {
		_, _ = plugin.Run(patiently(t), ids[1], "sudo poweroff") // the connection may end first
		await(t, testrun.Patience(t), "the end of the machine", func() bool { return len(findMachine(t, ids[1])) == 0 })
		requireNoticed(t, plugin, ids[1])
	})
}

// beginJob begins a job without an end, and tells what became of it.
func beginJob(t *testing.T, plugin *runner.Plugin, id string) <-chan error {
	t.Helper()
	job := make(chan error, 1)
	go func() {
		_, err := plugin.Run(patiently(t), id, "touch begun; sleep 3600")
		job <- err
	}()
	await(t, testrun.Patience(t), "the begin of the job", func() bool {
		_, err := plugin.Run(patiently(t), id, "test -e begun")
		return err == nil
	})
	return job
}

// requireMemory wants what each machine takes to be more than nothing, and of
// the order of what it was given: by emulation QEMU adds translated code.
func requireMemory(t *testing.T, s shared, ids []string) {
	t.Helper()
	all := s.list(t)
	require.Len(t, all, len(ids))
	for _, worker := range all {
		require.Contains(t, ids, worker.ID)
		require.Greater(t, worker.Private, int64(1<<20))
		require.GreaterOrEqual(t, worker.PSS, worker.Private)
		require.Less(t, worker.PSS, int64(4<<30))
	}
}

// denied is how many packets the worker was denied; it wants that to be known of
// the others as well.
func denied(t *testing.T, s shared, id string) (packets int) {
	t.Helper()
	all := s.list(t)
	require.NotEmpty(t, all)
	for _, worker := range all {
		require.NotNil(t, worker.Denied, worker.ID)
		if worker.ID == id {
			packets = *worker.Denied
		}
	}
	return packets
}

// requireNoticed wants a worker to be reported as deleted within moments, with
// nothing left of it, and the others to run as before.
func requireNoticed(t *testing.T, plugin *runner.Plugin, ended string, others ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), moments)
	defer cancel()
	require.NoError(t, plugin.AwaitDeleted(ctx, ended))
	for _, thing := range look(t) {
		require.NotEqual(t, inventory.Worker(ended), thing.Owner, "%s is left", thing)
	}
	states, err := plugin.States(t.Context())
	require.NoError(t, err)
	require.Len(t, states, len(others))
	for _, id := range others {
		require.NoError(t, plugin.Heartbeat(t.Context(), id))
	}
}

func killMachine(t *testing.T, id string) {
	t.Helper()
	found := findMachine(t, id)
	require.Len(t, found, 1)
	for running := range found {
		child, err := process.Adopt(running)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), moments)
		defer cancel()
		require.NoError(t, child.Kill(ctx))
	}
}

func findMachine(t *testing.T, id string) map[process.Identity][]string {
	t.Helper()
	found, err := process.Find(func(arguments []string) bool {
		dir, ok := machineOf(arguments)
		return ok && strings.HasSuffix(dir, "/"+id)
	})
	require.NoError(t, err)
	return found
}

// tag begins the -name of every machine below the state directory; its
// worker's directory follows.
const tag = "mayfly:"

// machineOf returns the worker's directory that a command line names.
func machineOf(arguments []string) (dir string, ok bool) {
	for i, argument := range arguments[:max(len(arguments)-1, 0)] {
		if argument == "-name" {
			dir, ok = strings.CutPrefix(arguments[i+1], tag)
		}
	}
	return dir, ok && strings.HasPrefix(dir, stateDir()+"/")
}
