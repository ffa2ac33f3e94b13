package page

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
)

// workerPage is the page of one worker.
type workerPage struct {
	observe.Worker
	Now   time.Time
	Doing string
	For   time.Duration
	// Time is where its time went: before it was asked for, in its start, and after that.
	Time  []waterfall
	Whole time.Duration
	Ready time.Duration // from the request until it was ready
	// Rest is what no phase accounts for.
	Rest    time.Duration
	Events  []eventRow
	More    int // events that are not shown
	Console []string
}

// eventRow is one event of the worker's ledger.
type eventRow struct {
	ledger.Event
	After time.Duration // since the first one
	Text  string
}

// mostEvents is how many events of a worker are shown, of its beginning.
const mostEvents = 500

// workerOf is the page of a worker, whose events and console were read.
func workerOf(
	w observe.Worker, events []ledger.Event, console []string, consoleErr error, now time.Time,
) workerPage {
	p := workerPage{Worker: w, Now: now, Time: timeOf(w, now), Whole: w.Took(now), Console: console}
	if rest := w.Remainder(now); rest > w.Took(now)/100 {
		p.Rest = rest
	}
	if phase, lasts := w.Phase(); lasts {
		p.Doing, p.For = lookOf(phase.Name).Words, phase.Took(now)
	}
	for _, phase := range w.Start() {
		p.Ready += phase.Took(now)
	}
	if consoleErr != nil {
		p.Console = []string{consoleErr.Error()}
	}
	p.More = max(0, len(events)-mostEvents)
	for _, event := range events[:len(events)-p.More] {
		p.Events = append(p.Events, eventRow{Event: event, After: event.At.Sub(w.Began), Text: eventText(event)})
	}
	return p
}

// timeOf is where a worker's time went.
func timeOf(w observe.Worker, now time.Time) (all []waterfall) {
	start := w.Start()
	before := len(w.Spans)
	if len(start) > 0 {
		before = slices.IndexFunc(w.Spans, func(s ledger.Span) bool { return s.Begin.Equal(start[0].Begin) })
	}
	for _, part := range []struct {
		title  string
		phases []ledger.Span
	}{
		{"Ahead of time", w.Spans[:before]}, {"Start", start}, {"Life", w.Spans[min(len(w.Spans), before+len(start)):]},
	} {
		if len(part.phases) > 0 {
			all = append(all, waterfallOf(part.title, part.phases, now))
		}
	}
	return all
}

// eventText is what an event tells besides its kind and phase.
func eventText(e ledger.Event) string {
	var words []string
	add := func(word string) {
		if word != "" {
			words = append(words, word)
		}
	}
	add(e.Reason)
	add(e.How)
	if e.Job != nil {
		add(strings.TrimSpace("the guest's word: " + cmp.Or(e.Job.Name, "a job") + " of " + e.Job.Project))
	}
	return strings.Join(words, ", ")
}
