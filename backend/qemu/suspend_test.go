//go:build linux

package qemu

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// suspendRounds is how often a worker is put away and brought back.
const suspendRounds = 20

// work is a process that goes on for ever, counting in its memory, and writes
// down every number.
const work = `cat > work.sh <<'EOF'
n=0
while :; do n=$((n+1)); echo $n; sleep 0.02; done
EOF
setsid nohup sh work.sh > numbers 2> /dev/null < /dev/null & echo $!`

// putAwayAndBringBack does the second with a backend without memory, as after
// a restart of the plugin.
func (f *forks) putAwayAndBringBack(t *testing.T, w *backendtest.Worker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testrun.Patience(t))
	defer cancel()
	old, dir := w.Machine, filepath.Join(f.options.WorkersDir, w.ID())
	require.NoError(t, f.Suspend(ctx, w.ID()))
	<-old.Done()
	machines, err := f.Find(ctx)
	require.NoError(t, err)
	require.Empty(t, machines, "a suspended machine takes no memory")

	f.Backend = f.again()
	require.NoError(t, f.Resumable(dir))
	require.NoError(t, f.network.Park(ctx, w.ID()))
	lease, err := f.network.Unpark(ctx, w.ID(), network.Queues(cpus))
	require.NoError(t, err)
	w.Machine, err = f.Resume(ctx, backend.Spec{ID: w.ID(), Dir: dir, Lease: lease})
	require.NoError(t, err)
	require.Equal(t, old.Address(), w.Address())
	require.Equal(t, old.How(), w.How())
	require.Error(t, f.Resumable(dir), "what was saved is of the past now")
	require.NoFileExists(t, filepath.Join(dir, "state"))
}

func TestSuspendedWorkerGoesOnWhereItWas(t *testing.T) {
	f := newForks(t, "suspend")
	f.ownTemplate(t)
	w, err := f.start(t, 0)
	require.NoError(t, err)
	require.Equal(t, backend.Fork, w.How())
	output, err := w.Run(work)
	require.NoError(t, err)
	pid := strings.TrimSpace(output)

	before := 0
	for round := range suspendRounds {
		f.putAwayAndBringBack(t, &w)
		if round == 0 {
			require.NoError(t, f.shelf().Clear(), "it depends on no template any more")
		}
		if round%10 > 0 && round != suspendRounds-1 {
			continue
		}
		require.NoError(t, w.Ready(t.Context()))
		off, err := clockError(w)
		require.NoError(t, err)
		require.Less(t, off.Abs(), time.Second, "the clock")
		now := f.counted(t, w, pid)
		require.Greater(t, now, before, "the process goes on")
		before = now
	}
	require.Greater(t, before, suspendRounds, "the process did something in between")
	t.Logf("%d rounds, %d numbers written", suspendRounds, before)
}

// counted is how far the process is that counts; it holds that no number is
// missing, and that it is still the same process.
func (f *forks) counted(t *testing.T, w backendtest.Worker, pid string) int {
	t.Helper()
	output, err := w.Run("kill -0 " + pid + " && cat numbers")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(output), "\n")
	for i, line := range lines {
		require.Equal(t, strconv.Itoa(i+1), line)
	}
	return len(lines)
}

// TestSuspendedClone has no template, and a backend that was given no time to
// finish.
func TestSuspendedClone(t *testing.T) {
	f := newForks(t, "suspend2")
	f.options.Fork = false
	f.Backend = f.again()
	w, err := f.start(t, 0)
	require.NoError(t, err)
	require.Equal(t, backend.Clone, w.How())
	f.putAwayAndBringBack(t, &w)
	require.NoError(t, w.Ready(t.Context()))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	dir := filepath.Join(f.options.WorkersDir, w.ID())
	require.ErrorIs(t, f.Suspend(ended, w.ID()), context.Canceled)
	require.ErrorContains(t, f.Resumable(dir), "nothing was saved")
	require.NoError(t, f.Destroy(t.Context(), w.ID()))
	require.Error(t, f.Suspend(t.Context(), w.ID()), "there is nothing to suspend")
}

func TestMemoryOfAnotherQEMUIsNotResumed(t *testing.T) {
	b := vmm.New(New("true", Limits{}, slog.New(slog.DiscardHandler)), vmm.Options{Pool: "p", WorkersDir: t.TempDir()})
	dir := t.TempDir()
	require.ErrorContains(t, b.Resumable(dir), "nothing was saved")
	file := filepath.Join(dir, "suspended.json")
	another, err := json.Marshal(map[string]any{
		"platform": template.Platform{Binary: "/another"},
		"spec":     vmm.Spec{Accel: kvm.TCG, CPUs: 1, Memory: 1 << 20, Disk: "disk", Format: "raw", Incoming: true},
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, another, 0o600))
	require.ErrorContains(t, b.Resumable(dir), "another program")
	here, err := template.NewPlatform("tcg", "true")
	require.NoError(t, err)
	old, err := json.Marshal(map[string]any{"how": "fork", "platform": here})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, old, 0o600))
	require.ErrorContains(t, b.Resumable(dir), "earlier version")
	require.NoError(t, os.WriteFile(file, []byte(`{`), 0o600))
	require.ErrorContains(t, b.Resumable(dir), "suspended.json")
}
