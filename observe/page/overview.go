package page

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// Bounds of what one page shows of a pool.
const (
	mostRows     = 60
	mostGone     = 12 // of these rows
	mostFailures = 5
	consoleLines = 12
)

// overview is the page of all pools.
type overview struct {
	observe.View
	Meters []meter
	States []stateCount // of all pools
	Pools  []poolPart
}

// meter shows how much of something is taken.
type meter struct {
	Name        string
	Taken, Most float64
	Text        string
}

// stateCount is how many workers are in a state.
type stateCount struct {
	State pool.State
	Count int
}

// poolPart is a pool on the page.
type poolPart struct {
	observe.Pool
	Now    time.Time
	States []stateCount
	From   time.Time // where the timeline begins
	Rows   []row
	// More is how many workers there are besides those that have a row.
	More     int
	Starts   starts
	Failures []failure
}

// row is a worker on a timeline.
type row struct {
	observe.Worker
	Doing, Reason string
	For           time.Duration
	Job           string // the guest's word
	Bar           []segment
}

// failure is a worker that ended unasked.
type failure struct {
	store.Ended
	Pool    string
	Reason  string
	Ran     time.Duration // 0 if it was never ready
	Console []string
}

// overviewOf is the page of a view. What the consoles of failed workers said is read by
// console.
func overviewOf(v observe.View, console func(observe.Worker) ([]string, error)) overview {
	page := overview{View: v, Meters: metersOf(v), States: count(v.Alive())}
	for _, p := range v.Pools {
		page.Pools = append(page.Pools, poolPartOf(p, v.At, console))
	}
	return page
}

func metersOf(v observe.View) []meter {
	memory := meter{Name: "Memory", Taken: float64(v.Share.HeldMemory), Most: float64(v.Share.Memory),
		Text: size(v.Share.HeldMemory) + " of " + size(v.Share.Memory)}
	cpus := meter{Name: "Processors", Taken: float64(v.Share.HeldCPUs), Most: float64(v.Share.CPUs),
		Text: fmt.Sprintf("%d of %d", v.Share.HeldCPUs, v.Share.CPUs)}
	if v.Share.CPUs == 0 {
		cpus.Most, cpus.Text = 0, fmt.Sprintf("%d, without a limit", v.Share.HeldCPUs)
	}
	used := v.Disk.Total - v.Disk.Free
	disk := meter{Name: "Disk", Taken: float64(used), Most: float64(v.Disk.Total), Text: size(v.Disk.Free) + " free"}
	return []meter{memory, cpus, disk}
}

func poolPartOf(p observe.Pool, now time.Time, console func(observe.Worker) ([]string, error)) poolPart {
	part := poolPart{Pool: p, Now: now, States: count(p.Workers), Starts: startsOf(p.Starts())}
	window := windowOf(p.Workers, now)
	part.From = window.From
	part.More = max(0, len(p.Workers)-mostRows)
	// Those that live come first, and of both the youngest.
	for _, w := range slices.Backward(p.Workers[part.More:]) {
		part.Rows = append(part.Rows, rowOf(w, window))
	}
	gone := p.Gone[max(0, len(p.Gone)-min(mostGone, mostRows-len(part.Rows))):]
	for _, w := range slices.Backward(gone) {
		if w.GoneAt.After(window.From) {
			part.Rows = append(part.Rows, rowOf(w, window))
		}
	}
	for _, ended := range slices.Backward(p.Ended[max(0, len(p.Ended)-mostFailures):]) {
		part.Failures = append(part.Failures, failureOf(p.Name, ended, console))
	}
	return part
}

func rowOf(w observe.Worker, window window) row {
	r := row{Worker: w, Bar: window.bar(w), Reason: lines.First(w.Reason)}
	if n := len(w.Jobs); n > 0 {
		r.Job = w.Jobs[n-1].Name
	}
	if phase, lasts := w.Phase(); lasts {
		r.Doing, r.For = lookOf(phase.Name).Words, phase.Took(window.To)
		r.Reason = cmp.Or(lines.First(phase.Reason), r.Reason)
	}
	if w.MissingRules != "" {
		r.Reason = "without its firewall rules: " + w.MissingRules
	}
	return r
}

func failureOf(pool string, ended store.Ended, console func(observe.Worker) ([]string, error)) failure {
	f := failure{Ended: ended, Pool: pool, Reason: lines.First(ended.Reason)}
	if !ended.ReadyAt.IsZero() {
		f.Ran = ended.EndedAt.Sub(ended.ReadyAt)
	}
	var w observe.Worker
	w.ID, w.Pool = ended.ID, pool
	said, err := console(w)
	if err != nil {
		said = []string{err.Error()}
	}
	f.Console = said[max(0, len(said)-consoleLines):]
	return f
}

// count counts workers by state, in the order of a worker's life.
func count(workers []observe.Worker) (counts []stateCount) {
	number := make(map[pool.State]int)
	for _, w := range workers {
		number[w.State]++
	}
	for _, state := range []pool.State{
		pool.Spare, pool.Canary, pool.Creating, pool.Running, pool.Suspending, pool.Suspended, pool.Resuming,
		pool.Deleting,
	} {
		if number[state] > 0 {
			counts = append(counts, stateCount{state, number[state]})
		}
	}
	return counts
}
