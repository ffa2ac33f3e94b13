//go:build linux

package vmm

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/phase"
)

// start starts a worker, and returns the parts of its start.
func (b *bench) start(t *testing.T, spec backend.Spec) (m backend.Machine, parts []string) {
	t.Helper()
	ctx := phase.With(t.Context(), phase.Parts(func(part string) { parts = append(parts, part) }))
	m, err := b.Start(ctx, b.golden, spec)
	require.NoError(t, err)
	return m, parts
}

func TestAForkIsConnectedWhenItHasItsIdentity(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.prepare(t)
	m, parts := b.start(t, b.spec(t, "fork"))
	require.Equal(t, backend.Fork, m.How())
	require.Equal(t, "launch, restore, cut off, continue, rekey, connect", b.driver.noted())
	require.Equal(t, []string{phase.Disk, phase.Process, phase.Restore, phase.Continue, phase.Identity}, parts)
}

func TestWithoutATemplateACloneIsBooted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	m, parts := b.start(t, b.spec(t, "clon"))
	require.Equal(t, backend.Clone, m.How())
	require.Equal(t, "launch, boot, rekey", b.driver.noted())
	require.Equal(t, []string{phase.Disk, phase.Process, phase.Identity}, parts)
}

// TestAFailedForkIsUndone fails at every step: a clone is booted in the same
// directory, which would find a socket there otherwise.
func TestAFailedForkIsUndone(t *testing.T) {
	for call, want := range map[string]string{
		"launch":   "launch, connect",
		"restore":  "launch, restore, connect",
		"cut off":  "launch, restore, cut off, connect",
		"continue": "launch, restore, cut off, continue, connect",
		"rekey":    "launch, restore, cut off, continue, rekey, connect",
		"connect":  "launch, restore, cut off, continue, rekey, connect, connect",
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.prepare(t)
			template, ok := b.template(b.golden, b.size, kvm.TCG)
			require.True(t, ok)
			b.driver.fails = call
			spec := b.spec(t, "fail")
			_, err := b.fork(t.Context(), template, b.golden, spec)
			require.ErrorContains(t, err, "forking "+spec.ID+" from its template: ")
			require.ErrorContains(t, err, call+" fails")
			require.Equal(t, want, b.driver.noted())
			require.Empty(t, files(t, spec.Dir))
			require.Empty(t, b.machines)
		})
	}
}

func TestAForkFromStockNeedsOnlyItsIdentity(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.prepare(t)
	require.True(t, b.Stockable(t.Context(), b.golden, b.size))
	spec := b.spec(t, "stoc")
	require.NoError(t, b.Stock(t.Context(), b.golden, spec))
	require.Equal(t, "launch, restore, cut off", b.driver.noted())
	m, parts := b.start(t, spec)
	require.Equal(t, backend.Fork, m.How())
	require.Equal(t, "continue, rekey, connect", b.driver.noted())
	require.Equal(t, []string{phase.Continue, phase.Identity}, parts)

	unwanted := b.spec(t, "unwa")
	require.NoError(t, b.Stock(t.Context(), b.golden, unwanted))
	require.Len(t, b.stock, 1)
	require.NoError(t, b.Destroy(t.Context(), unwanted.ID))
	require.Empty(t, b.stock)

	late := b.spec(t, "late")
	require.NoError(t, b.Stock(t.Context(), b.golden, late))
	require.NoError(t, b.templates.Clear())
	b.driver.noted()
	m, _ = b.start(t, late)
	require.Equal(t, backend.Clone, m.How(), "its template is gone")
	require.Equal(t, "connect, launch, boot, rekey", b.driver.noted())
	require.Empty(t, b.stock)
}

// TestASuspendedForkIsResumedByAnother has a backend without memory resume it.
func TestASuspendedForkIsResumedByAnother(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.options.ShareMemory = false
	b.driver.wholeDisks = true
	b.traits = b.driver.Traits()
	require.NoError(t, b.Prepare(t.Context(), b.golden, b.size, nil, nil, func(_, _ string) {}))
	template, ok := b.template(b.golden, b.size, kvm.TCG)
	require.True(t, ok)
	require.Equal(t, "raw", template.Format, "its disk is whole")
	require.NoError(t, os.WriteFile(template.Memory(), []byte("memory"), 0o600))
	spec := b.spec(t, "susp")
	old, _ := b.start(t, spec)
	require.FileExists(t, filepath.Join(spec.Dir, memoryFile))
	b.driver.noted()

	require.ErrorContains(t, b.Resumable(spec.Dir), "nothing was saved")
	require.NoError(t, b.Suspend(t.Context(), spec.ID))
	<-old.Done()
	requireVacated(t, b.again())
	for _, path := range []string{diskFile, stateFile} {
		require.Zero(t, owned(t, filepath.Join(spec.Dir, path)).Uid, "what is suspended is root's")
	}
	saved := []string{"console.log", "disk", "shell.log", "socket", "state", "suspended.json"}
	require.Equal(t, saved, files(t, spec.Dir))
	require.ErrorContains(t, b.Suspend(t.Context(), spec.ID), "no machine of this process")

	b.Backend = b.again()
	require.NoError(t, b.Resumable(spec.Dir))
	m, err := b.Resume(t.Context(), spec)
	require.NoError(t, err)
	require.Equal(t, backend.Fork, m.How())
	require.Equal(t, "save, launch, restore, continue, wake", b.driver.noted(), "it was never off the network")
	resumed := b.machines[spec.ID].spec
	require.Equal(t, Unforked, resumed.MemoryUse)
	require.Empty(t, resumed.MemoryFile)
	require.Equal(t, []string{"console.log", "disk", "shell.log", "socket"}, files(t, spec.Dir))

	b.driver.fails = "save"
	require.ErrorContains(t, b.Suspend(t.Context(), spec.ID), "save fails")
	require.Error(t, b.Resumable(spec.Dir))
}

// TestASavedMachineIsForkedAgainAndAgain has one whose disk lies on its template's.
func TestASavedMachineIsForkedAgainAndAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.prepare(t)
	held := b.spec(t, "held")
	b.start(t, held)
	require.NoError(t, b.Suspend(t.Context(), held.ID))
	contents := func() (all []string) {
		for _, name := range files(t, held.Dir) {
			text, err := os.ReadFile(filepath.Join(held.Dir, name))
			require.NoError(t, err)
			all = append(all, name, string(text))
		}
		return all
	}
	saved := contents()
	for _, name := range []string{"onef", "twof"} {
		b.driver.noted()
		spec := b.spec(t, name)
		m, err := b.ForkSaved(t.Context(), held.Dir, spec)
		require.NoError(t, err)
		require.Equal(t, backend.Fork, m.How())
		require.Equal(t, "launch, restore, continue, wake", b.driver.noted())
		require.Equal(t, filepath.Join(spec.Dir, diskFile), b.machines[spec.ID].spec.Disk)
		require.NoError(t, os.WriteFile(filepath.Join(spec.Dir, diskFile), []byte("what the fork wrote"), 0o600))
		require.Equal(t, exists(filepath.Join(held.Dir, baseFile)), exists(filepath.Join(spec.Dir, baseFile)))
		require.Equal(t, saved, contents())
	}
	require.NoError(t, b.Resumable(held.Dir))

	b.driver.forksOnce = true
	b.traits = b.driver.Traits()
	_, err := b.ForkSaved(t.Context(), held.Dir, b.spec(t, "thre"))
	require.ErrorContains(t, err, "Shell cannot restore a saved machine twice")
}

// Its end calls off what waits for it, in the same words as whoever stops us.
func TestMachineThatEndedSaysSoToWhomItCalledOff(t *testing.T) {
	stopped := process.Command{Path: "/bin/sh", Arguments: []string{"-c", "kill -STOP $$"}, Output: os.DevNull}
	child, err := process.Start(stopped)
	require.NoError(t, err)
	m := &machine{process: child, monitor: &playedMachine{child: child}, ended: make(chan struct{})}
	go m.watch(slog.New(slog.DiscardHandler))
	require.Equal(t, context.Canceled, m.explain(context.Canceled))
	require.NoError(t, child.Kill(t.Context()))
	<-m.Done()
	require.ErrorIs(t, m.explain(context.Canceled), guest.ErrGone)
	require.NotErrorIs(t, m.Err(), guest.ErrFault, "no guest can do that")
	require.ErrorContains(t, m.Err(), "for want of memory")
}

// TestTheReasonOfAnEndIsWhatTheGuestDid has consoles as machines leave them.
func TestTheReasonOfAnEndIsWhatTheGuestDid(t *testing.T) {
	const panicked = "[ 9.1] Kernel panic - not syncing: sysrq triggered crash\n"
	for _, test := range []struct{ words, console, reason string }{
		{PoweredOff, "", "machine is gone: the guest powered itself off"},
		{PoweredOff, panicked, "machine is gone: the guest powered itself off\nlast lines of the console:\n  " + strings.TrimSpace(panicked)},
		{Rebooted, "", "machine is gone: the guest rebooted"},
		{Rebooted, panicked, "machine is gone: kernel panic: sysrq triggered crash\n"},
		{Panicked, "", "machine is gone: the guest's kernel panicked"},
		{Rebooted, "Oops: 0002 [#1]\n", "machine is gone: the guest rebooted, after a kernel oops: Oops: 0002 [#1]\n"},
	} {
		console := filepath.Join(t.TempDir(), "console.log")
		require.NoError(t, os.WriteFile(console, []byte(test.console), 0o600))
		err := (&machine{spec: Spec{Console: console}}).explainEnd(test.words)
		require.ErrorIs(t, err, guest.ErrFault)
		require.ErrorIs(t, err, guest.ErrGone)
		require.Contains(t, err.Error()+"\n", test.reason)
	}
}

// TestNothingIsLeftOfAMachineWhoseProcessWasKilled has a backend without memory
// find by its control group and its user what has no process any more.
func TestNothingIsLeftOfAMachineWhoseProcessWasKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	spec := b.spec(t, "kill")
	m, _ := b.start(t, spec)
	running, err := b.tag.Find(spec.ID)
	require.NoError(t, err)
	require.Len(t, running, 1)
	require.NoError(t, running[0].Kill(t.Context()))
	<-m.Done()

	next := b.again()
	found, err := next.Find(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, spec.ID, found[0].ID())
	<-found[0].Done()
	require.ErrorIs(t, found[0].Err(), guest.ErrGone)
	require.NoError(t, next.Destroy(t.Context(), spec.ID))
	requireVacated(t, next)
	require.NoError(t, next.Destroy(t.Context(), spec.ID), "again")
}

// requireVacated looks for what machines have outside their directories.
func requireVacated(t *testing.T, b *Backend) {
	t.Helper()
	tenants, err := b.tenants()
	require.NoError(t, err)
	require.Empty(t, tenants)
	found, err := b.Find(t.Context())
	require.NoError(t, err)
	require.Empty(t, found)
}
