package recovery

import (
	"fmt"
	"slices"
	"strings"
)

// The columns of the table.
const (
	Record  = "record"
	Process = "process"
	Lease   = "lease"
	Disk    = "disk"
	Saved   = "saved state"
	Claims  = "claims"
)

// column is one of the things that may be left of a worker.
type column struct {
	name string
	// values are what it may be, each with what that means.
	values []value
}

type value struct{ name, means string }

// columns are in the order of the page. Another column is an entry here, what makes
// its values in the test, and a word in each rule that it changes.
var columns = []column{
	{Record, []value{
		{"no directory", "nothing lies below `workers/`"},
		{"none", "the bare directory: the intent"},
		{"corrupt", "half of `worker.json`, which a crash alone does not leave: records are renamed into place"},
		{"newer", "`worker.json` of a later version of the plugin"},
		{"creating", "it has keys and an address, and was not ready yet"},
		{"running", "it was ready; a job may have run"},
		{"suspended", "its memory was saved, and its lease parked"},
		{"resuming", "it was to run again: the saved memory may be of the past"},
		{"deleting", "it was being removed"},
	}},
	{Process, []value{
		{"dead", "none runs"},
		{"alive", "its machine runs on: nobody has told it to end"},
		{"another's", "a process of another user has the same arguments"},
	}},
	{Lease, []value{
		{"none", "nothing of it is in the kernel or in the book"},
		{"parked", "its address in the book"},
		{"half", "its address and its namespace, but no link to the host"},
		{"whole", "address, namespace, link, route and rules"},
	}},
	{Disk, []value{{"none", "no file `disk`"}, {"there", "the file `disk`"}}},
	{Saved, []value{
		{"none", "no `suspended.json`"},
		{"torn", "`suspended.json`, and less of the memory than it says"},
		{"whole", "`suspended.json`, and the memory"},
	}},
	{Claims, []value{
		{"none", "it holds nothing else of the host"},
		{"budget", "what it takes of the host is in the book of the budget"},
		{"budget, user", "a user for its machine is taken as well"},
	}},
}

// cell is one combination: a value for each column.
type cell map[string]string

func (c cell) String() string {
	var parts []string
	for _, column := range columns {
		parts = append(parts, column.name+" "+c[column.name])
	}
	return strings.Join(parts, ", ")
}

// cells are all combinations with a record.
func cells(record string) []cell {
	all := []cell{{Record: record}}
	for _, column := range columns {
		if column.name == Record {
			continue
		}
		var longer []cell
		for _, c := range all {
			for _, v := range column.values {
				next := cell{column.name: v.name}
				for name, value := range c {
					next[name] = value
				}
				longer = append(longer, next)
			}
		}
		all = longer
	}
	return all
}

// pattern is the values that a rule is about. A column that is not in it may be
// anything.
type pattern map[string][]string

func (p pattern) fits(c cell) bool {
	for name, values := range p {
		if !slices.Contains(values, c[name]) {
			return false
		}
	}
	return true
}

// rule says what becomes of the cells that it fits, and no rule before it.
type rule struct {
	of pattern
	// kept says that the worker is taken over as suspended; else nothing is left.
	kept bool
	// says is in a line of the log about the worker.
	says string
	why  string
}

// rules are the table: the first that fits a cell decides.
var rules = []rule{
	{
		of:   pattern{Record: {"corrupt", "newer"}},
		says: "worker is removed, suspended or not: its record cannot be read",
		why:  "without its keys nobody can log in to it; a runner forgets what is not shown (ADR 0011)",
	},
	{
		of:   pattern{Record: {"suspended"}, Process: {"alive"}},
		says: "its machine runs",
		why:  "a second machine would write to the same disk",
	},
	{
		of:   pattern{Record: {"suspended"}, Claims: {"budget, user"}},
		says: "its machine runs",
		why:  "who has a user may have a machine that does not show in the list of processes",
	},
	{
		of:   pattern{Record: {"suspended"}, Disk: {"there"}, Saved: {"whole"}},
		kept: true,
		says: "suspended worker is taken over",
		why:  "all that it needs is there; the address of its lease stays, and its part of the budget",
	},
	{
		of:   pattern{Record: {"suspended"}},
		says: "it cannot be resumed",
		why:  "a part of what was saved is missing",
	},
	{
		says: "removing an orphan",
		why: "who has no owner is removed (ADR 0007): the machine and its user first, " +
			"the lease, the budget, the directory",
	},
}

// decide is the number of the rule that decides.
func decide(c cell) int {
	return slices.IndexFunc(rules, func(r rule) bool { return r.of.fits(c) })
}

// never are the cells that no crash of ours leaves. Those that can be made by hand
// are made all the same, and the rules hold for them.
var never = []struct {
	of     pattern
	unmade bool
	why    string
}{
	{
		of:     pattern{Record: {"no directory"}, Process: {"dead", "another's"}, Lease: {"none"}, Claims: {"none"}},
		unmade: true, why: "nothing is left, and nothing has to be found",
	},
	{
		of:     pattern{Record: {"no directory"}, Disk: {"there"}},
		unmade: true, why: "files lie in the directory",
	},
	{
		of:     pattern{Record: {"no directory"}, Saved: {"torn", "whole"}},
		unmade: true, why: "files lie in the directory",
	},
	{
		of:  pattern{Record: {"no directory"}},
		why: "the directory is made first and removed last: somebody has removed it by hand",
	},
	{
		of:  pattern{Record: {"none", "creating"}, Saved: {"torn", "whole"}},
		why: "only what was ready is suspended, and its record is there by then",
	},
	{
		of:  pattern{Record: {"suspended"}, Process: {"alive"}},
		why: "the record says so after the machine has ended",
	},
	{
		of:  pattern{Record: {"suspended"}, Lease: {"half", "whole"}},
		why: "the record says so after the lease was parked",
	},
	{
		of:  pattern{Record: {"suspended"}, Saved: {"none", "torn"}},
		why: "the record says so after all of it was synced: the disk of the host has lost it",
	},
	{
		of:  pattern{Record: {"suspended"}, Disk: {"none"}},
		why: "the record says so after the disk was synced: the disk of the host has lost it",
	},
	{
		of:  pattern{Record: {"suspended"}, Claims: {"budget, user"}},
		why: "the record says so after the user was given back",
	},
	{
		of:  pattern{Process: {"alive"}, Claims: {"none"}},
		why: "the budget is asked first, and given back last; an earlier version of the plugin had none",
	},
	{
		of:  pattern{Record: {"running", "resuming", "deleting"}, Process: {"alive"}, Disk: {"none"}},
		why: "a machine keeps its disk open; its name goes with the directory",
	},
}

// crossed says which leases are combined with which claims: the kernel has nothing of
// claims, and the book of addresses nothing of a lease's links.
var crossed = pattern{Lease: {"half", "whole"}, Claims: {"budget", "budget, user"}}

// canBeMade tells whether a cell is possible at all, and is made.
func canBeMade(c cell) bool {
	if crossed.fits(c) {
		return false
	}
	for _, n := range never {
		if n.unmade && n.of.fits(c) {
			return false
		}
	}
	return true
}

// page is docs/reference/recovery.md.
func page() string {
	var p strings.Builder
	p.WriteString(head)
	for _, column := range columns {
		fmt.Fprintf(&p, "\n| %s | means |\n|---|---|\n", column.name)
		for _, v := range column.values {
			fmt.Fprintf(&p, "| %s | %s |\n", v.name, v.means)
		}
	}
	total, made := 0, 0
	counts := make([]int, len(rules))
	for _, record := range columns[0].values {
		for _, c := range cells(record.name) {
			total++
			if canBeMade(c) {
				made++
				counts[decide(c)]++
			}
		}
	}
	fmt.Fprintf(&p, "\n## What becomes of it\n\nOf %d combinations %d are made. "+
		"The others cannot be, or combine claims with leases that are half or whole:\n"+
		"these are made without claims, since neither knows of the other. "+
		"The first row that fits decides; an empty field stands\nfor anything.\n\n", total, made)
	p.WriteString(heading("|", " | combinations | the worker is | the log says | because |"))
	for n, r := range rules {
		fate := "removed"
		if r.kept {
			fate = "taken over"
		}
		fmt.Fprintf(&p, "| %s | %d | %s | %s | %s |\n", fields(r.of), counts[n], fate, r.says, r.why)
	}
	p.WriteString(middle)
	p.WriteString(heading("|", " | because |"))
	for _, n := range never {
		why := n.why
		if n.unmade {
			why += " (cannot be made)"
		}
		fmt.Fprintf(&p, "| %s | %s |\n", fields(n.of), why)
	}
	return p.String() + foot
}

func heading(before, after string) string {
	var names []string
	for _, column := range columns {
		names = append(names, column.name)
	}
	line := before + " " + strings.Join(names, " | ") + after
	return line + "\n" + strings.Repeat("|---", strings.Count(line, "|")-1) + "|\n"
}

func fields(of pattern) string {
	var fields []string
	for _, column := range columns {
		fields = append(fields, strings.Join(of[column.name], ", "))
	}
	return strings.Join(fields, " | ")
}

const head = `# Recovery

What the next plugin process of a pool does with what the one before has left of a worker: it was killed, or the host
lost its power. ` + "`make generate`" + ` writes this page from the table that a test works through
(` + "`test/e2e/recovery`" + `): it makes each combination for real, opens the pool as the plugin does, and looks at what is
left. [Crash and recovery](../architecture.md#crash-and-recovery) says how it is done. A worker that is
[held](../guides/post-mortem.md) and was saved is taken for a suspended one until its time is over, and any other held
one for a running one.

## What may be left
`

const middle = `
## What no crash leaves

The order of the plugin's steps excludes these, so that one of them has another cause: a person, or a disk that lost
what was synced. Those that are not marked are made in the test as well, and the rows above hold for them.

`

const foot = `
## What a name alone finds

Before each effect there is a name that the next process derives, without a record and without memory.

| effect | is found by |
|---|---|
| worker | its directory below ` + "`pools/POOL/workers`" + ` |
| machine | its arguments, which hold that directory; a container's also by its control group |
| namespace, link to the host | ` + "`mf<scope><key>`" + `, of the pool's directory and the worker's id |
| address | ` + "`addresses/ADDRESS`" + `, which holds pool and worker |
| part of the budget | ` + "`budget/held/ID,MEMORY,CPUS,DISK`" + ` |
| user of a machine | ` + "`users/UID`" + `, which holds pool and worker |
| build of an image | ` + "`images/.building-DIGEST-…`" + `, ` +
	`unlocked, and below ` + "`images/layers`" + ` that of a layer; ` +
	`its machine and lease have an id derived from the image |
| template | ` + "`templates/.making-…`" + `, removed before the next one is made; its machine and lease likewise |
| renewal of an image | what it consists of: a build, a canary, which is a worker, and a template. ` +
	`An edition that was built stays, and is tried again |
| download | ` + "`downloads/….part`" + `, unlocked: the next download goes on with it |
| socket for the runner | ` + "`mayfly-socket-…`" + ` among the temporary files, unlocked |
| table of rules | ` + "`mayfly-<scope>`" + ` |
| forwarding that was switched on | a note below ` + "`/run/mayfly/forwarding`" + ` |

Tests kill real processes at random moments of this: ` + "`network/island`" + ` while leases are made and removed,
` + "`test/e2e/machines`" + ` while machines are created, ` + "`backend/nspawn`" + ` while an image is renewed, ` +
	`and ` + "`make soak`" + ` whatever
they do.
`
