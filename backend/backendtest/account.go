package backendtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

func testMemory(t *testing.T, b *bench) {
	metered, ok := b.Backend.(backend.Metered)
	if !ok {
		t.Skip("this backend does not tell what its machines take")
	}
	w := b.start(t, b.id("memory"))
	b.ready(t, w)
	used, err := metered.Memory(b.context(t))
	require.NoError(t, err)
	require.Len(t, used, 1)
	of := used[w.ID()]
	assert.Greater(t, of.Private, int64(1<<20), "a guest has written to some pages of its own at least")
	assert.GreaterOrEqual(t, of.PSS, of.Private)

	require.NoError(t, b.Backend.Destroy(b.context(t), w.ID()))
	used, err = metered.Memory(b.context(t))
	require.NoError(t, err)
	assert.Empty(t, used)
}

// testAccount also has a job, as GitLab Runner would start one, be seen in the worker.
func testAccount(t *testing.T, b *bench) {
	accountant, accounts := b.Backend.(backend.Accountant)
	witness, sees := b.Backend.(backend.Witness)
	if !accounts && !sees {
		t.Skip("this backend tells neither what its machines took nor which jobs are in them")
	}
	w := b.start(t, b.id("account"))
	b.ready(t, w)
	if sees {
		b.seesJob(t, witness, w)
	}
	if accounts {
		used, err := accountant.Usage(w.ID())
		require.NoError(t, err)
		assert.Greater(t, used.CPU, time.Millisecond, "a system has started")
		assert.GreaterOrEqual(t, used.PeakMemory, int64(0))
		assert.GreaterOrEqual(t, used.DiskWritten, int64(0))
	}
	require.NoError(t, b.Backend.Destroy(b.context(t), w.ID()))
	if accounts {
		used, err := accountant.Usage(w.ID())
		require.NoError(t, err)
		assert.Zero(t, used, "nothing is left of it")
	}
}

// seesJob has a process of a job run in a worker until the backend sees the job.
func (b *bench) seesJob(t *testing.T, witness backend.Witness, w Worker) {
	t.Helper()
	_, seen, err := witness.Job(b.context(t), w.ID())
	require.NoError(t, err)
	require.False(t, seen, "there is none yet")
	w.Output(t, `export CI_JOB_ID=4711 CI_PROJECT_PATH=group/project CI_JOB_NAME="build: [a]"
sleep 3600 >/dev/null 2>&1 </dev/null &`)
	var job guest.Job
	require.Eventually(t, func() bool {
		job, seen, err = witness.Job(b.context(t), w.ID())
		return err != nil || seen
	}, b.Patience, 50*time.Millisecond)
	require.NoError(t, err)
	assert.Equal(t, guest.Job{ID: 4711, Project: "group/project", Name: "build: [a]"}, job)
}
