package host

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func TestLittleSpaceIsAWarning(t *testing.T) {
	require.Equal(t, doctor.OK, checkSpace("/srv", leastFree).Level)
	finding := checkSpace("/srv", leastFree-1)
	require.Equal(t, doctor.Warning, finding.Level)
	require.Contains(t, finding.Mend, "state_dir")
}

func TestMoreMachinesThanMemoryIsAWarning(t *testing.T) {
	c := config.Default()
	c.Machine.Memory = 2 * gib
	finding := checkMemory(c, 8*gib)
	require.Equal(t, doctor.Finding{
		Level: doctor.OK, What: "memory", Detail: "the host's 8.0 GiB hold 4 machines that use all of their 2.0 GiB",
	}, finding)
	c.Host.MaxWorkers = 4
	require.Equal(t, doctor.OK, checkMemory(c, 8*gib).Level)
	c.Host.MaxWorkers = 5
	require.Contains(t, checkMemory(c, 8*gib).Mend, "max_workers (5)")
	require.Contains(t, checkMemory(c, gib).Mend, "machine.memory")
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

func TestRoomOfADirectoryThatIsNotThereYet(t *testing.T) {
	dir := t.TempDir()
	want, err := freeSpace(dir)
	require.NoError(t, err)
	require.Positive(t, want)
	got, err := freeSpace(filepath.Join(dir, "not", "there"))
	require.NoError(t, err)
	require.InEpsilon(t, want, got, 0.5, "others write meanwhile")
}
