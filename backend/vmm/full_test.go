//go:build linux

package vmm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// newFullBench is a bench on a small disk.
func newFullBench(t *testing.T) (*bench, *sandbox.Disk) {
	t.Helper()
	d := sandbox.NewDisk(t, 32<<20)
	return newBenchIn(t, d.Dir), d
}

func TestAFullDiskCostsNoTemplateAndBootsNoClone(t *testing.T) {
	b, d := newFullBench(t)
	b.prepare(t)
	specs := []backend.Spec{b.spec(t, "aone"), b.spec(t, "atwo"), b.spec(t, "athr")}
	d.Fill(0)
	for _, spec := range specs {
		_, err := b.Start(t.Context(), b.golden, spec)
		require.True(t, diskspace.IsFull(err), "%v", err)
		require.Empty(t, files(t, spec.Dir), "nothing half made is left")
	}
	require.NotContains(t, b.driver.noted(), "launch")
	_, ok := b.template(b.golden, b.size, kvm.TCG)
	require.True(t, ok)
	d.Empty()
	m, _ := b.start(t, specs[0])
	require.Equal(t, backend.Fork, m.How())
}

func TestAMachineThatCannotBeSavedRunsOn(t *testing.T) {
	b, d := newFullBench(t)
	spec := b.spec(t, "full")
	m, _ := b.start(t, spec)
	before := files(t, spec.Dir)
	b.driver.noted()
	d.Fill(0)
	err := b.Suspend(t.Context(), spec.ID)
	require.ErrorIs(t, err, backend.ErrRunsOn)
	require.ErrorContains(t, err, "the file system of "+spec.Dir+" is full")
	require.NoError(t, m.Err())
	require.Empty(t, b.driver.noted(), "there is no room for what says that it is suspended, so nothing began")
	require.Equal(t, before, files(t, spec.Dir))

	d.Empty()
	b.driver.fail("save", fmt.Errorf("%w: no room for the state", backend.ErrRunsOn))
	require.ErrorIs(t, b.Suspend(t.Context(), spec.ID), backend.ErrRunsOn)
	require.Equal(t, before, files(t, spec.Dir))
	require.Error(t, b.Resumable(spec.Dir))
	b.driver.fail("", nil)
	require.NoError(t, b.Suspend(t.Context(), spec.ID))
	require.NoError(t, b.Resumable(spec.Dir))
}

func TestADiskThatCannotBeWrittenToIsTheReason(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	started, _ := b.start(t, b.spec(t, "full"))
	m := started.(*machine)
	require.EqualError(t, m.blameDisk(errors.New("step 1 failed")), "step 1 failed")
	m.monitor.(*playedMachine).diskErrors <- fmt.Errorf("writing to its disk: %w", unix.ENOSPC)
	require.NoError(t, m.monitor.(*playedMachine).end.Close()) // and at once it ends
	<-m.Done()
	require.True(t, diskspace.IsFull(m.Err()), "%v", m.Err())
	require.ErrorContains(t, m.Err(), "the file system of "+m.dir+" is full")
	require.ErrorIs(t, m.Err(), guest.ErrGone)
	err := m.blameDisk(errors.New("step 1: input/output error"))
	require.ErrorContains(t, err, "; then step 1: input/output error")
	require.NoError(t, m.blameDisk(nil))
}
