package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// table is a Markdown table; the first row is its head.
type table [][]string

func (t table) String() string {
	var text strings.Builder
	for i, row := range t {
		fmt.Fprintf(&text, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			text.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return text.String()
}

// row is one line of the table of workers.
type row struct {
	what   string
	series func(Workers) Series
	format func(float64) string
}

var workerRows = []row{
	{"ready, each", func(w Workers) Series { return w.Ready }, seconds},
	{"ready, the last", func(w Workers) Series { return w.AllReady }, seconds},
	{"memory (PSS), idle", func(w Workers) Series { return w.PSS }, mebibytes},
	{"disk", func(w Workers) Series { return w.Disk }, mebibytes},
}

// WorkersTable is the main table: each way beside the others.
func (d Document) WorkersTable() string {
	t := table{{"at once", "median", Old, Clone, Fork, Stocked, "fork / clone", "fork / old way"}}
	for _, n := range counts(d.Workers) {
		for _, r := range workerRows {
			if n == 1 && r.what == "ready, the last" {
				continue // the only one
			}
			old := r.series(find(d.Workers, Old, n))
			clone := r.series(find(d.Workers, Clone, n))
			fork := r.series(find(d.Workers, Fork, n))
			stocked := r.series(find(d.Workers, Stocked, n))
			t = append(t, []string{
				fmt.Sprint(n), r.what, r.show(old), r.show(clone), r.show(fork), r.show(stocked),
				fraction(ratio(fork, clone)), fraction(ratio(fork, old)),
			})
		}
	}
	return t.String()
}

func (r row) show(s Series) string {
	if s.N == 0 {
		return "-"
	}
	return r.format(s.Median)
}

// ProfileTable shows where the time of a fork goes, one at a time.
func (d Document) ProfileTable() string {
	t := table{{"phase", "took", "ended at"}}
	for _, p := range d.Profile {
		t = append(t, []string{p.Name, milliseconds(p.Took.Median), milliseconds(p.Ended.Median)})
	}
	return t.String()
}

// PartsTable shows what a worker is made of, and the pool's own overhead.
func (d Document) PartsTable() string {
	t := table{{"what", "median", "allocated", "n"}}
	add := func(what string, took Series, allocated string) {
		if took.N > 0 {
			t = append(t, []string{what, short(took.Median), allocated, fmt.Sprint(took.N)})
		}
	}
	for _, lease := range []Lease{d.Lease, d.CrowdedLease} {
		add(lease.name()+", set up", lease.SetUp, "-")
		add(lease.name()+", torn down", lease.TearDown, "-")
		add(lease.name()+", set up and torn down", lease.Both, "-")
	}
	for _, disk := range d.Disks {
		add(fmt.Sprintf("disk by %s on %s", disk.Method, disk.FileSystem), disk.Seconds,
			mebibytes(disk.Allocated.Median))
	}
	for _, timing := range d.Pool {
		add(timing.Name, timing.Seconds, "-")
	}
	return t.String()
}

func (l Lease) name() string {
	if l.Others == 0 {
		return "lease"
	}
	return fmt.Sprintf("lease beside %d others", l.Others)
}

// Circumstances says in a few lines where and how a section was measured.
func (d Document) Circumstances(section string) string {
	r := d.Runs[section]
	m, g := r.Machine, r.Guest
	text := fmt.Sprintf("Measured by `make bench` on %s, version %s: %d cores (%s), %s of memory, Linux %s, "+
		"QEMU %s %s, state on %s. Workers have %s and %s of memory, clones a %s disk. ",
		r.Date.Format("2006-01-02"), r.Program, m.Cores, m.Processor, gibibytes(m.MemoryBytes), m.Kernel,
		m.QEMU, running(m.Acceleration), m.FileSystem,
		plural(g.CPUs, "processor"), mebibytes(float64(g.MemoryBytes)), g.DiskFormat)
	if section == SectionWorkers {
		text += "Rounds: " + d.rounds() + ". "
	}
	return text + plural(r.Repeated, "round") + " failed and were repeated.\n"
}

func (d Document) rounds() string {
	rounds := make([]string, 0, len(d.Rounds))
	for _, n := range slices.Sorted(maps.Keys(d.Rounds)) {
		rounds = append(rounds, fmt.Sprintf("%d at once: %d", n, d.Rounds[n]))
	}
	return strings.Join(rounds, ", ")
}

// Section is what a page says of a section between its markers.
func (d Document) Section(section string) string {
	var t string
	switch section {
	case SectionWorkers:
		t = d.WorkersTable()
	case SectionParts:
		t = d.PartsTable()
	case SectionDensity:
		t = d.Density.Table()
	default:
		t = d.Compared[section].Table()
	}
	return d.Circumstances(section) + "\n" + t
}

func running(acceleration string) string {
	if acceleration == "tcg" {
		return "by emulation"
	}
	return "with " + strings.ToUpper(acceleration)
}
