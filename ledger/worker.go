package ledger

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Worker is what the events of one worker tell together.
type Worker struct {
	ID string
	// Origin is the kind of its first event: Promised, or what else it came from.
	Origin Kind
	Began  time.Time
	// PromisedAt, ReadyAt, EndedAt and GoneAt are zero as long as that has not happened.
	PromisedAt, ReadyAt, EndedAt, GoneAt time.Time
	// Spans are the phases of its life, one after the other. The last one has no end
	// while it lasts.
	Spans      []Span
	How, Image string
	// Jobs are those that were seen in it, the first one first.
	Jobs []SeenJob
	// Failed says that nobody had asked for its end, Reason why it ended.
	Failed bool
	Reason string
	Usage  *Usage
	// Lost is how many events, of this or of other workers, are missing among its own.
	Lost int
}

// Span is a phase, or a part of one.
type Span struct {
	Name       string
	Begin, End time.Time
	// Reason is the last one that was told for which it took its time.
	Reason string
	// Parts are what is told of the phase's parts. A part that was gone through again
	// comes once.
	Parts []Part
}

// Part is how long a part of a phase took in all, without the phase's name before it.
type Part struct {
	Name string
	Took time.Duration
}

// SeenJob is a job, and when it was seen first.
type SeenJob struct {
	At time.Time
	Job
}

// Took is how long the span took, or has taken up to now.
func (s Span) Took(now time.Time) time.Duration {
	if !s.End.IsZero() {
		now = s.End
	}
	return max(0, now.Sub(s.Begin))
}

// Lasts says whether the span has not ended.
func (s Span) Lasts() bool { return s.End.IsZero() }

// Took is the worker's whole time, from its first event until it was gone or up to now.
func (w Worker) Took(now time.Time) time.Duration {
	if !w.GoneAt.IsZero() {
		now = w.GoneAt
	}
	return max(0, now.Sub(w.Began))
}

// Remainder is what no span accounts for of the worker's whole time.
func (w Worker) Remainder(now time.Time) time.Duration {
	rest := w.Took(now)
	for _, s := range w.Spans {
		rest -= s.Took(now)
	}
	return rest
}

// Phase is the span that the worker is in; false says that it is gone.
func (w Worker) Phase() (Span, bool) {
	if len(w.Spans) == 0 || !w.Spans[len(w.Spans)-1].Lasts() {
		return Span{}, false
	}
	return w.Spans[len(w.Spans)-1], true
}

// Is says whether a person who writes what means this worker: its id, or the number of a
// job that was seen in it.
func (w Worker) Is(what string) bool {
	return w.ID == what || slices.ContainsFunc(w.Jobs, func(j SeenJob) bool {
		return strconv.FormatInt(j.ID, 10) == what
	})
}

// mostOfAWorker bounds what is kept of one worker: no life of ours has so many phases,
// parts or jobs.
const mostOfAWorker = 1000

// Histories puts events together, worker by worker. The zero value has none.
type Histories struct {
	workers map[string]*history
	order   []string
	about   map[string]Event
}

// history is a worker under way, and where its next part begins.
type history struct {
	Worker
	part time.Time
}

// mostAbout bounds of how many things of the pool the last event is kept.
const mostAbout = 100

// Add takes the next event, in the order in which they were written.
func (h *Histories) Add(e Event) {
	if e.Worker == "" {
		h.addOfPool(e)
		return
	}
	w := h.workers[e.Worker]
	if w == nil {
		w = &history{Worker: Worker{ID: e.Worker, Origin: e.Kind, Began: e.At}}
		if h.workers == nil {
			h.workers = make(map[string]*history)
		}
		h.workers[e.Worker] = w
		h.order = append(h.order, e.Worker)
	}
	w.add(e)
}

func (h *Histories) addOfPool(e Event) {
	switch e.Kind {
	case Opened:
		for _, w := range h.workers {
			w.abandon(e.At)
		}
	case Noted:
		if h.about == nil {
			h.about = make(map[string]Event)
		}
		if len(h.about) < mostAbout || h.about[e.Phase].Kind != "" {
			h.about[e.Phase] = e
		}
	}
}

// Workers are all workers, in the order of their first events. They are good until the
// next event is added.
func (h *Histories) Workers() []Worker {
	workers := make([]Worker, 0, len(h.order))
	for _, id := range h.order {
		workers = append(workers, h.workers[id].Worker)
	}
	return workers
}

// About is the last event about something of the pool itself, such as its image; the zero
// Event where there is none.
func (h *Histories) About(what string) Event { return h.about[what] }

// Notes are the last reasons about all things of the pool itself, by what they are about.
func (h *Histories) Notes() map[string]string {
	notes := make(map[string]string)
	for about, event := range h.about {
		notes[about] = event.Reason
	}
	return notes
}

// Why is what the worker's present phase takes its time for: the reason that was told of
// the phase, or else the last that is known of what it waits for by its name: of the image,
// in "wait_image". It is empty where nothing is known.
func (h *Histories) Why(w Worker) string {
	phase, lasts := w.Phase()
	if !lasts || phase.Reason != "" {
		return phase.Reason
	}
	awaited, waits := strings.CutPrefix(phase.Name, "wait_")
	if !waits {
		return ""
	}
	return h.About(awaited).Reason
}

// Worker is what the events of one worker tell up to now; false says that there are none.
// It is good until the next event is added.
func (h *Histories) Worker(id string) (Worker, bool) {
	w, known := h.workers[id]
	if !known {
		return Worker{}, false
	}
	return w.Worker, true
}

// Forget drops a worker: for those who follow a ledger for long.
func (h *Histories) Forget(id string) {
	delete(h.workers, id)
	h.order = slices.DeleteFunc(h.order, func(other string) bool { return other == id })
}

func (w *history) add(e Event) {
	w.Lost += e.Lost
	switch e.Kind {
	case Promised:
		w.PromisedAt = e.At
	case Entered:
		w.enter(e)
	case Passed:
		w.pass(e)
	case Waits:
		if n := len(w.Spans); n > 0 && e.Reason != "" {
			w.Spans[n-1].Reason = e.Reason
		}
	case Ready:
		if w.ReadyAt.IsZero() { // else it was suspended in between
			w.ReadyAt = e.At
		}
		w.How, w.Image = e.How, e.Image
		w.enter(e)
	case Worked:
		if e.Job != nil && len(w.Jobs) < mostOfAWorker {
			w.Jobs = append(w.Jobs, SeenJob{e.At, *e.Job})
		}
	case Ended, Failed:
		w.EndedAt, w.Failed, w.Reason = e.At, e.Kind == Failed, e.Reason
		w.enter(e)
	case Used:
		w.Usage = w.Usage.plus(e.Usage)
	case Gone:
		w.GoneAt = e.At
		w.leave(e.At)
	}
}

// plus is what was taken by both, such as before a worker was suspended and after. Either
// may be nil.
func (u *Usage) plus(more *Usage) *Usage {
	if u == nil || more == nil {
		return cmp.Or(u, more)
	}
	return &Usage{
		CPUSeconds: u.CPUSeconds + more.CPUSeconds, PeakMemory: max(u.PeakMemory, more.PeakMemory),
		BytesIn: u.BytesIn + more.BytesIn, BytesOut: u.BytesOut + more.BytesOut,
		DiskWritten: u.DiskWritten + more.DiskWritten, Denied: u.Denied + more.Denied,
		DeniedTo: slices.Concat(u.DeniedTo, more.DeniedTo),
	}
}

// abandon ends a worker of which nobody has told the end: its process was killed, and
// another one has removed it, or found nothing of it.
func (w *history) abandon(at time.Time) {
	if phase, lasts := w.Phase(); !lasts || phase.Name == Suspended || phase.Name == Held {
		return
	}
	w.leave(at)
	w.GoneAt = at
	if w.EndedAt.IsZero() {
		w.EndedAt, w.Failed, w.Reason = at, true, "its plugin was killed"
	}
}

// enter ends the present phase, and begins the one that the event names.
func (w *history) enter(e Event) {
	w.leave(e.At)
	w.part = e.At
	if e.Phase != "" && len(w.Spans) < mostOfAWorker {
		w.Spans = append(w.Spans, Span{Name: e.Phase, Begin: e.At})
	}
}

func (w *history) leave(at time.Time) {
	if n := len(w.Spans); n > 0 && w.Spans[n-1].Lasts() {
		w.Spans[n-1].End = at
	}
}

// phaseOf is the phase that a part, "start.disk", is of.
func phaseOf(part string) string {
	phase, _, _ := strings.Cut(part, ".")
	return phase
}

// pass adds to a part of the present phase what was gone through since the last one.
func (w *history) pass(e Event) {
	took := max(0, e.At.Sub(w.part))
	w.part = e.At
	phase, ok := w.Phase()
	if _, name, _ := strings.Cut(e.Phase, "."); ok && name != "" && phaseOf(e.Phase) == phase.Name {
		w.addPart(name, took)
	}
}

func (w *history) addPart(name string, took time.Duration) {
	span := &w.Spans[len(w.Spans)-1]
	for i := range span.Parts {
		if span.Parts[i].Name == name {
			span.Parts[i].Took += took
			return
		}
	}
	if len(span.Parts) < mostOfAWorker {
		span.Parts = append(span.Parts, Part{name, took})
	}
}
