package host

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host/budget"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func TestLittleSpaceIsAWarning(t *testing.T) {
	require.Equal(t, doctor.OK, checkSpace("/srv", leastFree, 0).Level)
	finding := checkSpace("/srv", leastFree-1, 3*gib/2)
	require.Equal(t, doctor.Warning, finding.Level)
	require.Contains(t, finding.Mend, "state_dir")
	require.Contains(t, finding.Detail, "4.0 GiB are free where /srv is; 1.5 GiB more could be freed")
}

func TestDoctorSaysWhatWorkersShare(t *testing.T) {
	limits, cost := budget.Limits{Memory: 8 * gib}, pool.Cost{Memory: 2 * gib, CPUs: 2}
	held := map[string]pool.Cost{"a-aaaaaaaa": {Memory: gib, CPUs: 1, Disk: gib}, "b-aaaaaaaa": {Memory: gib, CPUs: 2}}
	finding := checkBudget(limits, cost, 0, held)
	require.Equal(t, doctor.Finding{
		Level: doctor.OK, What: "memory", Detail: "workers of all pools share 8.0 GiB; 2 hold 2.0 GiB and 3 processors now, " +
			"and may write 1.0 GiB; there is room for 4 workers of this pool that use all of their 2.0 GiB",
	}, finding)
	require.Equal(t, doctor.OK, checkBudget(limits, cost, 4, nil).Level)
	finding = checkBudget(limits, cost, 5, nil)
	require.Equal(t, doctor.Warning, finding.Level)
	require.Contains(t, finding.Mend, "max_workers (5)")
	limits.CPUs = 4
	require.Contains(t, checkBudget(limits, cost, 0, nil).Detail, "and 4 processors; ")
	require.Contains(t, checkBudget(limits, cost, 0, nil).Detail, "room for 2 workers")
	finding = checkBudget(budget.Limits{Memory: gib}, cost, 0, nil)
	require.Equal(t, doctor.Missing, finding.Level)
	require.Contains(t, finding.Mend, "set machine.memory or host.reserve_memory to less")
	require.Equal(t, doctor.OK, checkBudget(budget.Limits{}, pool.Cost{}, 5, nil).Level, "workers that are played")
}

func TestPoolThatNeverFitsIsNotOpened(t *testing.T) {
	w := newWorld(t)
	w.assembly.Backend = synthetic.New(synthetic.Options{Reserve: true})
	c := w.config()
	c.Machine.Memory = 1 << 50
	_, err := w.OpenPool(t.Context(), c, "", soon, silent)
	require.ErrorContains(t, err, `pool "default": a worker takes 1048576.0 GiB of memory`)
}

func TestReservationsOfADeadProcessAreOrphans(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.Pool = "gone" // which has no directory
	share, err := budgetOf(c)
	require.NoError(t, err)
	require.NoError(t, share.Reserve(t.Context(), "gone-aaaaaaaa", pool.Cost{Memory: gib}, func(string) {}))
	swept, err := w.Sweep(t.Context(), w.config(), Sweeping{Remove: true}, silent)
	require.NoError(t, err)
	require.Equal(t, []Swept{{
		Pool: "gone", LeftOver: []string{"reservation gone-aaaaaaaa"}, Suspended: []string{}, Removed: true,
	}}, swept)
	held, err := share.Held()
	require.NoError(t, err)
	require.Empty(t, held)
}

func TestDoctorSaysHowManyWorkersThereCanBe(t *testing.T) {
	for keys, want := range map[string]string{
		`"network": {"subnet": "10.1.0.0/29"}`:                             "4 at once at most: %s holds 4,",
		`"network": {"subnet": "10.1.0.0/29"}, "fork": {"spares": 1}`:      "3 at once at most: %s holds 3,",
		`"network": {"subnet": "10.1.0.0/29"}, "host": {"max_workers": 2}`: "2 at once at most: %s holds 4,",
	} {
		c, err := config.Parse([]byte("{" + keys + "}"))
		require.NoError(t, err)
		finding := checkAddresses(c)
		require.Equal(t, doctor.OK, finding.Level)
		require.Contains(t, finding.Detail, fmt.Sprintf(want, "network.subnet 10.1.0.0/29"))
	}
}
