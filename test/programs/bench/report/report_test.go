package report

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1}, 5},
		{[]float64{5, 1, 3}, 3},
		{[]float64{100, 1, 2, 3}, 2.5},
	} {
		require.Equal(t, c.want, median(c.samples), c.samples)
	}
	samples := []float64{5, 1, 3}
	s := NewSeries(samples)
	require.Equal(t, Series{N: 3, Median: 3, Samples: []float64{5, 1, 3}}, s, "the order of the samples is kept")
}

// example is a document as a run makes one, with round figures.
func example() Document {
	series := func(samples ...float64) Series { return NewSeries(samples) }
	of := func(method string, atOnce int, ready, pss, disk float64) Workers {
		return Workers{
			Method: method, AtOnce: atOnce, Ready: series(ready-1, ready, ready+1), AllReady: series(ready + 1),
			PSS: series(pss * (1 << 20)), Private: series(pss * (1 << 19)), Disk: series(disk * (1 << 20)),
		}
	}
	workers := []Workers{
		of(Old, 1, 50, 300, 450), of(Clone, 1, 10, 200, 20), of(Fork, 1, 1.5, 100, 0.5), of(Stocked, 1, 1, 90, 0.5),
		of(Clone, 4, 30, 200, 20), of(Fork, 4, 3, 80, 0.5),
	}
	run := Run{
		Date: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC), Seconds: 600, Program: "v0.0.0-test",
		Machine: Machine{Processor: "Example 9000", Cores: 2, MemoryBytes: 24 << 30, Kernel: "6.18",
			FileSystem: "ext4", Acceleration: "tcg", QEMU: "7.2.22"},
		Guest: Guest{CPUs: 1, MemoryBytes: 512 << 20, DiskBytes: 4 << 30, DiskFormat: "qcow2"},
	}
	density, err := NewDensity(8<<30, []Filling{
		{Method: Old, Points: []Point{{2, 2 << 30}, {8, 8 << 30}}},
		{Method: Fork, Points: []Point{{8, 1 << 30}, {48, 6 << 30}, {80, 10 << 30}}},
	})
	if err != nil {
		panic(err)
	}
	devices := NewComparison([]string{Old, Clone, Fork}, []string{"write", "read"}, map[string]map[string][]float64{
		Old: {"write": {4, 2, 3}, "read": {1}}, Clone: {"write": {3, 3, 3}}, Fork: {"write": {1.5}, "read": {2}},
	})
	return Document{
		Version: Version,
		Runs: map[string]Run{
			SectionWorkers: run, SectionParts: run, SectionDensity: run, SectionDevices: run,
		},
		Rounds:  map[int]int{4: 1, 1: 5},
		Workers: workers, Ratios: Compare(workers),
		Profile: []Phase{
			{Name: "lease", Took: series(20), Ended: series(21)},
		},
		Lease:        Lease{SetUp: series(0.02), TearDown: series(0.03), Both: series(0.05)},
		CrowdedLease: Lease{Others: 200, SetUp: series(0.021), TearDown: series(0.031), Both: series(0.052)},
		Disks: []Disk{
			{FileSystem: "xfs", Method: "reflink", Seconds: series(0.003), Allocated: series(450 << 20)},
		},
		Pool:     []Timing{{Name: "Update of 1,000 workers", Seconds: series(0.00025)}},
		Compared: map[string]Comparison{SectionDevices: devices},
		Density:  density,
	}
}

func TestRatiosCompareMedians(t *testing.T) {
	ratios := example().Ratios
	require.Len(t, ratios, 2)
	require.Equal(t, 1, ratios[0].AtOnce)
	require.InDelta(t, 0.15, ratios[0].ForkClone, 1e-9)
	require.InDelta(t, 0.03, ratios[0].ForkOld, 1e-9)
	require.InDelta(t, 0.2, ratios[0].CloneOld, 1e-9)
	require.InDelta(t, 0.5, ratios[0].PSSForkClone, 1e-9)
	require.Zero(t, ratios[1].ForkOld, "the old way was not measured with 4")
	require.InDelta(t, 0.1, ratios[1].ForkClone, 1e-9)
}

func TestTables(t *testing.T) {
	d := example()
	want, err := os.ReadFile("testdata/tables.md")
	require.NoError(t, err)
	got := strings.Join([]string{d.Section(SectionWorkers), d.ProfileTable(), d.Section(SectionParts),
		d.Section(SectionDevices), d.Section(SectionDensity)}, "\n")
	require.Equal(t, string(want), got)
}

func TestDocumentIsReadBack(t *testing.T) {
	text, err := example().JSON()
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(text), "}\n"))
	again, err := Parse(text)
	require.NoError(t, err)
	require.Equal(t, example(), again)
	for _, bad := range []string{"", "{}", `{"version": 1}`} {
		_, err := Parse([]byte(bad))
		require.ErrorContains(t, err, "the document", bad)
	}
	require.NotContains(t, string(text), `"took_ms": {
        "n": 0`, "a moment took nothing")
}

func TestSectionsAreUpdatedAlone(t *testing.T) {
	kept := example()
	later := Document{
		Version: Version, Runs: map[string]Run{SectionWarm: {Program: "later"}, SectionDensity: {Program: "later"}},
		Compared: map[string]Comparison{SectionWarm: {Ways: []string{Clone, WarmFork}}},
		Density:  Density{LimitBytes: 1},
	}
	updated := kept.Updated(later)
	require.Equal(t, "later", updated.Runs[SectionWarm].Program)
	require.Equal(t, later.Density, updated.Density)
	require.Equal(t, later.Compared[SectionWarm], updated.Compared[SectionWarm])
	for _, section := range []string{SectionWorkers, SectionParts, SectionDevices} {
		require.Equal(t, kept.Section(section), updated.Section(section))
	}
	require.Equal(t, example(), kept, "it is not changed itself")

	all := Document{}.Updated(kept)
	require.Equal(t, kept, all, "each section is taken over whole")
}

func TestRatiosOfWaysAreToTheFirst(t *testing.T) {
	rows := example().Compared[SectionDevices].Rows
	require.Equal(t, []float64{1, 0.5}, rows[0].Ratios)
	require.Equal(t, []float64{0, 2}, rows[1].Ratios, "0 was not measured")
	require.Empty(t, Comparison{}.Table())
}

func TestDensityLiesBetweenTwoPoints(t *testing.T) {
	const gib = 1 << 30
	d := example().Density
	require.Equal(t, 8.0, d.Fillings[0].Fit)
	require.Equal(t, 64.0, d.Fillings[1].Fit)
	require.Equal(t, 8.0, d.Ratio)
	require.Equal(t, float64(gib/8), d.Fillings[1].Further)
	require.Empty(t, Density{}.Table())

	few, err := NewDensity(gib, []Filling{{Method: Old, Points: []Point{{2, 2 * gib}}}})
	require.NoError(t, err)
	require.Equal(t, 1.0, few.Fillings[0].Fit, "no worker takes nothing")
	for _, points := range [][]Point{nil, {{1, gib - 1}}, {{2, gib / 2}, {2, gib}}, {{4, gib / 2}, {2, gib}}} {
		_, err := NewDensity(gib, []Filling{{Method: Old, Points: points}})
		require.ErrorContains(t, err, "old way")
	}
}

func TestPlaceIsIdempotent(t *testing.T) {
	const page = "# Title\n\n<!-- bench:workers -->\nold\n<!-- bench:workers end -->\n\nThe rest.\n"
	once, err := Place(page, "workers", "| new |\n")
	require.NoError(t, err)
	require.Equal(t, "# Title\n\n<!-- bench:workers -->\n| new |\n<!-- bench:workers end -->\n\nThe rest.\n", once)
	twice, err := Place(once, "workers", "| new |\n")
	require.NoError(t, err)
	require.Equal(t, once, twice)
}

func TestPlaceWantsBothMarkersOnceInOrder(t *testing.T) {
	const begin, end = "<!-- bench:x -->\n", "<!-- bench:x end -->\n"
	for _, page := range []string{
		"", begin, end, end + begin, begin + begin + end, begin + end + end, strings.ReplaceAll(begin+end, "x", "y"),
	} {
		_, err := Place(page, "x", "new")
		require.ErrorContains(t, err, "<!-- bench:x", page)
	}
}

func TestParseGoBench(t *testing.T) {
	found, err := ParseGoBench(`goos: linux
BenchmarkUpdateOf1000-2                  	    4096	    250000 ns/op
BenchmarkIncreaseBy100Beside1000-2       	       3	   1500000 ns/op	  120 B/op	  4 allocs/op
BenchmarkUpdateOf1000-2                  	    4096	    350000 ns/op
PASS
`)
	require.NoError(t, err)
	require.Equal(t, map[string][]float64{"UpdateOf1000": {0.00025, 0.00035}, "IncreaseBy100Beside1000": {0.0015}},
		found)
	_, err = ParseGoBench("BenchmarkX-2 1 many ns/op\n")
	require.Error(t, err)
}
