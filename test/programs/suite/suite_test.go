package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheapPackagesComeBeforeLongOnes(t *testing.T) {
	got := order([]string{module + "backend", module + "backend/qemu", module + "network/island", module + "test/e2e/machines", module + "test/harness/testrun", module + "workerid"})
	require.Equal(t, []string{
		module + "test/harness/testrun", module + "backend", module + "workerid",
		module + "backend/qemu", module + "test/e2e/machines", module + "network/island",
	}, got)
}

func TestQuickRunBeginsWithWhatTakesLongest(t *testing.T) {
	packages := []string{module + "backend", module + "network/island"}
	quick := arguments(packages, true, "events")
	require.Contains(t, quick, "-short")
	require.Equal(t, []string{module + "network/island", module + "backend"}, quick[len(quick)-2:])
	whole := arguments(packages, false, "events")
	require.NotContains(t, whole, "-short")
	require.Equal(t, packages, whole[len(whole)-2:])
}

func TestNamedPackagesAreThere(t *testing.T) {
	for _, name := range append([]string{first}, long...) {
		entries, err := os.ReadDir("../../../" + name)
		require.NoError(t, err)
		require.NotEmpty(t, entries)
	}
}

func TestTimesAreThoseOfTestsThatAreNotDivided(t *testing.T) {
	const events = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA/one","Elapsed":1}
{"Action":"fail","Package":"p","Test":"TestA/two","Elapsed":2}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":3}
{"Action":"pass","Package":"p","Test":"TestB","Elapsed":0.5}
{"Action":"output","Package":"p","Output":"x"}
{"Action":"fail","Package":"p","Elapsed":3.5}
{"Action":"pass","Package":"q","Elapsed":4}
`
	found, err := read(strings.NewReader(events))
	require.NoError(t, err)
	var text bytes.Buffer
	found.print(&text)
	require.Equal(t, `
Time of each package:
     4.0s  q
     3.5s  p

The 20 slowest tests:
     2.0s  p TestA/two
     1.0s  p TestA/one
     0.5s  p TestB
`, text.String())
	_, err = read(strings.NewReader("{"))
	require.Error(t, err)
}
