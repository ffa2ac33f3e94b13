//go:build linux

package vmm

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
)

// weightFile is where the kernel has the share of a machine's control group.
func (b *bench) weightFile(t *testing.T, id string) string {
	t.Helper()
	hierarchies, err := cgroup.Hierarchies()
	require.NoError(t, err)
	for _, h := range hierarchies {
		if !slices.Contains(h.Controllers, cgroup.CPU) {
			continue
		}
		for _, name := range []string{"cpu.weight", "cpu.shares"} {
			path := filepath.Join(h.Dir, process.Slice, b.units.Name(id)+".scope", name)
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	t.Skip("this host cannot limit processors")
	return ""
}

func number(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	return n
}

func TestAMachineGivesWayUntilItIsWanted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	spec := b.spec(t, "weig")
	started, _ := b.start(t, spec)
	m := started.(*machine)
	file := b.weightFile(t, spec.ID)
	whole := number(t, file)

	wanted := make(chan struct{})
	stop := b.giveWay(m, wanted)
	require.Equal(t, whole/4, number(t, file))
	close(wanted)
	require.Eventually(t, func() bool { return number(t, file) == whole }, time.Minute, time.Millisecond)
	stop()

	b.giveWay(m, wanted)()
	require.Equal(t, whole, number(t, file), "it is wanted from the beginning")
	b.giveWay(m, nil)() // by nobody
	require.Equal(t, whole/4, number(t, file))
}

func TestACloneMayGiveWay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	shares := make(map[bool]int)
	for givesWay, name := range map[bool]string{false: "othr", true: "cana"} {
		spec := b.spec(t, name)
		spec.GivesWay = givesWay
		b.start(t, spec)
		shares[givesWay] = number(t, b.weightFile(t, spec.ID))
	}
	require.Equal(t, shares[false]/4, shares[true])
}
