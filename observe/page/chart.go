package page

import (
	"slices"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// Charts are drawn in these units, and stretched to what room there is.
const (
	chartWidth  = 1000.0
	chartHeight = 200.0
)

// segment is a piece of a bar: of which kind it is, where it begins and how long it is.
type segment struct {
	Kind        string
	From, Width float64
	Title       string
}

// look is how a phase is shown: the colour's name, and words for people.
type look struct{ Kind, Words string }

var looks = map[string]look{
	"stock":                {"other", "is made ahead of time"},
	"spare":                {"other", "waits for being asked for"},
	"wait_disk":            {"wait-budget", "waits for room on the disk"},
	pool.PhaseWaitImage:    {"wait-image", "waits for the image"},
	pool.PhaseWaitTemplate: {"wait-template", "waits for the template"},
	pool.PhaseWaitBudget:   {"wait-budget", "waits for room on the host"},
	pool.PhaseWaitStart:    {"wait-start", "waits for a start slot"},
	pool.PhaseLease:        {"lease", "network, keys"},
	pool.PhaseStart:        {"start", "machine starts"},
	pool.PhaseReady:        {"ready", "until SSH answers"},
	"run":                  {"running", "runs"},
	"suspend":              {"suspended", "is being suspended"},
	"suspended":            {"suspended", "is suspended"},
	"resume":               {"ready", "is being resumed"},
	"teardown":             {"teardown", "is being removed"},
}

// lookOf is how a phase is shown. One that has no look is shown by its name.
func lookOf(phase string) look {
	if known, ok := looks[phase]; ok {
		return known
	}
	return look{"other", strings.ReplaceAll(phase, "_", " ")}
}

// window is the time that a timeline shows.
type window struct{ From, To time.Time }

const (
	shortestWindow = 2 * time.Minute
	longestWindow  = time.Hour
)

// windowOf begins with the first of the workers that live, within bounds.
func windowOf(alive []observe.Worker, now time.Time) window {
	span := shortestWindow
	for _, w := range alive {
		if !w.Began.IsZero() {
			span = max(span, now.Sub(w.Began))
		}
	}
	return window{now.Add(-min(span, longestWindow)), now}
}

// at is where a moment is on the timeline.
func (w window) at(t time.Time) float64 {
	share := float64(t.Sub(w.From)) / float64(w.To.Sub(w.From))
	return chartWidth * min(1, max(0, share))
}

// bar is a worker's life on the timeline: its phases, and its jobs on top of them.
func (w window) bar(worker observe.Worker) (bar []segment) {
	add := func(kind string, from, to time.Time, title string) {
		if s := (segment{kind, w.at(from), w.at(to) - w.at(from), title}); s.Width > 0 {
			bar = append(bar, s)
		}
	}
	for _, phase := range worker.Spans {
		add(lookOf(phase.Name).Kind, phase.Begin, phase.Begin.Add(phase.Took(w.To)),
			lookOf(phase.Name).Words+", "+took(phase.Took(w.To)))
	}
	for i, job := range worker.Jobs {
		end := w.To
		if !worker.EndedAt.IsZero() {
			end = worker.EndedAt
		}
		if i+1 < len(worker.Jobs) {
			end = worker.Jobs[i+1].At
		}
		add("job", job.At, end, "a job, "+took(end.Sub(job.At)))
	}
	return bar
}

// column is one start in the chart of the last starts.
type column struct {
	ID       string
	X, Width float64
	Total    time.Duration
	Segments []segment // from the bottom up, From being their upper end
}

// starts is the chart of the last starts, with what each phase took in them.
type starts struct {
	Columns []column
	Phases  []phaseTimes
	// Most is the time at the top of the chart.
	Most time.Duration
	// Total is what whole starts took.
	Total phaseTimes
}

// phaseTimes is what a phase took in several starts.
type phaseTimes struct {
	Name, Kind           string
	Median, Nineth, Most time.Duration
}

// startsOf draws the last starts.
func startsOf(workers []observe.Worker) (s starts) {
	all := make(map[string][]time.Duration)
	var order []string
	var totals []time.Duration
	for _, w := range workers {
		total := time.Duration(0)
		for _, phase := range w.Start() {
			d := phase.Took(w.ReadyAt)
			if all[phase.Name] == nil {
				order = append(order, phase.Name)
			}
			all[phase.Name] = append(all[phase.Name], d)
			total += d
		}
		totals = append(totals, total)
		s.Most = max(s.Most, total)
	}
	for _, name := range order {
		s.Phases = append(s.Phases, timesOf(name, all[name]))
	}
	if len(totals) > 0 {
		s.Total = timesOf("in all", totals)
	}
	width := chartWidth / float64(max(len(workers), 20))
	for i, w := range workers {
		s.Columns = append(s.Columns, columnOf(w, totals[i], s.Most, float64(i)*width, width))
	}
	return s
}

func columnOf(w observe.Worker, total, most time.Duration, x, width float64) column {
	c := column{ID: w.ID, X: x, Width: width * .85, Total: total}
	top := chartHeight
	for _, phase := range w.Start() {
		height := chartHeight * float64(phase.Took(w.ReadyAt)) / float64(max(most, 1))
		top -= height
		c.Segments = append(c.Segments, segment{Kind: lookOf(phase.Name).Kind, From: top, Width: height})
	}
	return c
}

func timesOf(name string, all []time.Duration) phaseTimes {
	slices.Sort(all)
	return phaseTimes{
		Name: lookOf(name).Words, Kind: lookOf(name).Kind,
		Median: all[len(all)/2], Nineth: all[len(all)*95/100], Most: all[len(all)-1],
	}
}

// waterfall are phases of a worker, one below the other, each where it was in them all.
type waterfall struct {
	Title string
	Rows  []waterfallRow
	Whole time.Duration
}

// waterfallRow is one phase.
type waterfallRow struct {
	Name   string
	Took   time.Duration
	Reason string
	Lasts  bool
	Bar    segment
	Parts  []ledger.Part
}

// shortestBar is how wide a bar is at least: a phase that took nearly nothing is seen.
const shortestBar = 2

func waterfallOf(title string, phases []ledger.Span, now time.Time) waterfall {
	w := waterfall{Title: title}
	for _, phase := range phases {
		w.Whole += phase.Took(now)
	}
	scale := chartWidth / float64(max(w.Whole, 1))
	done := time.Duration(0)
	for _, phase := range phases {
		d := phase.Took(now)
		w.Rows = append(w.Rows, waterfallRow{
			Name: lookOf(phase.Name).Words, Took: d, Reason: phase.Reason, Lasts: phase.Lasts(), Parts: phase.Parts,
			Bar: segment{
				Kind: lookOf(phase.Name).Kind, From: min(float64(done)*scale, chartWidth-shortestBar),
				Width: max(shortestBar, float64(d)*scale),
			},
		})
		done += d
	}
	return w
}
