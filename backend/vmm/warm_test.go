//go:build linux

package vmm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// newWarmBench is a backend whose machines run the commands to be warm.
func newWarmBench(t *testing.T, commands ...string) *bench {
	t.Helper()
	b := newBench(t)
	b.warm = []image.Commands{{Setting: "image.preset"}, {Setting: "fork.warm", Shell: commands}}
	b.Backend = b.again()
	return b
}

func TestATemplateIsWarmBeforeItIsCutOffAndSaved(t *testing.T) {
	t.Parallel()
	for noCutter, want := range map[bool]string{
		false: "launch, boot, network, inspect, offline, cut off, await, save",
		true:  "launch, boot, network, inspect, offline, save",
	} {
		b := newWarmBench(t, "start one", "start two")
		b.driver.noCutter = noCutter
		b.Backend = b.again()
		var said []string
		hear := func(stage, line string) { said = append(said, stage+": "+line) }
		require.NoError(t, b.Prepare(t.Context(), b.golden, b.size, nil, nil, hear))
		require.Equal(t, []string{"template: ", "step 1 of 2: $ start one", "step 2 of 2: $ start two"}, said)
		require.Equal(t, want, b.driver.noted())
	}
}

func TestAFailedWarmStepFailsTheTemplate(t *testing.T) {
	t.Parallel()
	b := newWarmBench(t, "true", "exit 7", "never")
	var said []string
	err := b.Prepare(t.Context(), b.golden, b.size, nil, nil, func(_, line string) { said = append(said, line) })
	for _, want := range []string{
		"making the template", "warm step 2 of 3 (fork.warm[1]: exit 7)", "exit code 7", "the reason",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, strings.Join(said, "\n"), "never")
	require.Equal(t, "launch, boot, network", b.driver.noted(), "it is not saved")
	require.False(t, b.Stockable(t.Context(), b.golden, b.size))
	require.Empty(t, b.machines)

	// A clone would have a job find what it does not find in a fork.
	_, err = b.Start(t.Context(), b.golden, b.spec(t, "clon"))
	require.ErrorContains(t, err, "warm step 2 of 3 (fork.warm[1]: exit 7)")
	require.ErrorIs(t, err, guest.ErrFault)
}

func TestATemplateThatHoldsWhatForksMustNotShareIsRefused(t *testing.T) {
	t.Parallel()
	b := newWarmBench(t, "ssh-agent")
	b.driver.fail("inspect", nil)
	err := b.Prepare(t.Context(), b.golden, b.size, nil, nil, func(string, string) {})
	require.ErrorContains(t, err, "after the warm steps: guest agent: inspect: inspect fails")
	require.Equal(t, "launch, boot, network, inspect", b.driver.noted())
}

func TestOtherWarmStepsWantAnotherTemplate(t *testing.T) {
	t.Parallel()
	b := newWarmBench(t, "start one")
	require.NoError(t, b.Prepare(t.Context(), b.golden, b.size, nil, nil, func(string, string) {}))
	made, ok := b.template(b.golden, b.size, kvm.TCG)
	require.True(t, ok)
	for _, commands := range [][]string{nil, {"start two"}, {"start one", "start two"}} {
		b.warm[1].Shell = commands
		require.False(t, b.again().Stockable(t.Context(), b.golden, b.size), commands)
	}
	b.warm[1].Shell = []string{"start two"}
	require.NoError(t, b.again().Prepare(t.Context(), b.golden, b.size, nil, nil, func(string, string) {}))
	require.NoDirExists(t, made.Dir)
}

func TestACloneIsWarmWhenItIsReady(t *testing.T) {
	t.Parallel()
	b := newWarmBench(t, "true")
	m, _ := b.start(t, b.spec(t, "clon"))
	require.Equal(t, backend.Clone, m.How())
	require.Equal(t, "launch, boot, rekey", b.driver.noted(), "it has its network from the identity, and keeps it")
}

func TestCheckSaysWhereWarmStepsRun(t *testing.T) {
	t.Parallel()
	b := newWarmBench(t, "true")
	b.options.Fork = false
	require.Equal(t, doctor.Warning, b.checkWarm().Level)
	b.options.Fork = true
	require.Equal(t, doctor.OK, b.checkWarm().Level)
}
