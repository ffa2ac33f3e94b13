package metrics

import (
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
)

// count is a metric that events add to: a counter, or a histogram where there are buckets.
type count struct {
	metric
	buckets []float64
	// read adds what an event brings. All labels but the pool's name are given.
	read func(h happening, add func(value float64, labels ...string))
}

// happening is an event, and what its worker's events up to it tell together.
type happening struct {
	ledger.Event
	of ledger.Worker
}

// Buckets of histograms, in seconds and in bytes: a fork takes tenths of a second, a
// worker by emulation minutes; jobs take up to hours.
var (
	ofStarts = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
	ofJobs   = []float64{1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400}
	ofMemory = []float64{
		64 << 20, 128 << 20, 256 << 20, 512 << 20, 1 << 30, 2 << 30, 4 << 30, 8 << 30, 16 << 30, 32 << 30,
	}
)

// counts are all of them.
var counts = []count{
	{metric{"fleeting_provisioner_instance_operations_total",
		"What was done with workers that the runner asked for: create, delete, suspend or resume.",
		[]string{"pool", "operation"}}, nil,
		func(h happening, add func(float64, ...string)) {
			if operation := operationOf(h); operation != "" {
				add(1, operation)
			}
		}},
	{metric{"fleeting_provisioner_instance_creation_time_seconds",
		"From the runner's request for a worker until it was ready.", []string{"pool"}}, ofStarts, creationTime},
	{metric{"fleeting_provisioner_instance_is_running_time_seconds",
		"The same: a worker that is ready runs.", []string{"pool"}}, ofStarts, creationTime},
	{metric{"fleeting_provisioner_instance_deletion_time_seconds",
		"From the end of a worker until nothing of it was left.", []string{"pool"}}, ofStarts,
		func(h happening, add func(float64, ...string)) {
			if h.Kind == ledger.Gone && !h.of.PromisedAt.IsZero() && !h.of.EndedAt.IsZero() {
				add(between(h.of.EndedAt, h.At))
			}
		}},
	{metric{"fleeting_provisioner_instance_life_duration_seconds",
		"From the runner's request for a worker until nothing of it was left.", []string{"pool"}}, ofJobs,
		func(h happening, add func(float64, ...string)) {
			if h.Kind == ledger.Gone && !h.of.PromisedAt.IsZero() {
				add(between(h.of.PromisedAt, h.At))
			}
		}},
	{metric{"mayfly_starts_total",
		"Workers that became ready, by how they were made.", []string{"pool", "how"}}, nil,
		func(h happening, add func(float64, ...string)) {
			if isReady(h) {
				add(1, h.How)
			}
		}},
	{metric{"mayfly_phase_seconds",
		"How long each phase of a worker's life took.", []string{"pool", "phase"}}, ofStarts,
		func(h happening, add func(float64, ...string)) {
			if span, ended := phaseEnded(h); ended {
				add(span.Took(h.At).Seconds(), span.Name)
			}
		}},
	{metric{"mayfly_phase_part_seconds",
		"How long the parts of each phase of a start took, as far as they are measured.",
		[]string{"pool", "phase", "part"}}, ofStarts,
		func(h happening, add func(float64, ...string)) {
			if span, ended := phaseEnded(h); ended {
				for _, part := range span.Parts {
					add(part.Took.Seconds(), span.Name, part.Name)
				}
			}
		}},
	{metric{"mayfly_failures_total",
		"Workers that ended unasked, by the phase that they were in.", []string{"pool", "phase"}}, nil,
		func(h happening, add func(float64, ...string)) {
			if h.Kind == ledger.Failed {
				span, _ := phaseEnded(h)
				add(1, span.Name)
			}
		}},
	{metric{"mayfly_jobs_total",
		"Jobs that the guests of workers say they had.", []string{"pool"}}, nil,
		func(h happening, add func(float64, ...string)) {
			if h.Kind == ledger.Worked {
				add(1)
			}
		}},
	{metric{"mayfly_job_seconds",
		"From the moment that a guest saw a job until the next one, or until the worker's end.",
		[]string{"pool"}}, ofJobs, jobTime},
	{metric{"mayfly_cpu_seconds_total",
		"Processor time that workers took, of those that have ended.", []string{"pool"}}, nil,
		usage(func(u ledger.Usage) float64 { return u.CPUSeconds })},
	{metric{"mayfly_peak_memory_bytes",
		"The most memory that each worker took at once, of those that have ended.", []string{"pool"}}, ofMemory,
		usage(func(u ledger.Usage) float64 { return float64(u.PeakMemory) })},
	{metric{"mayfly_received_bytes_total",
		"What workers received over their network, of those that have ended.", []string{"pool"}}, nil,
		usage(func(u ledger.Usage) float64 { return float64(u.BytesIn) })},
	{metric{"mayfly_sent_bytes_total",
		"What workers sent over their network, of those that have ended.", []string{"pool"}}, nil,
		usage(func(u ledger.Usage) float64 { return float64(u.BytesOut) })},
	{metric{"mayfly_written_bytes_total",
		"What workers wrote to their disks, of those that have ended.", []string{"pool"}}, nil,
		usage(func(u ledger.Usage) float64 { return float64(u.DiskWritten) })},
	{metric{"mayfly_lost_events_total",
		"Events that could not be written into the pool's ledger, on a full disk for instance.", []string{"pool"}}, nil,
		func(h happening, add func(float64, ...string)) {
			if h.Lost > 0 {
				add(float64(h.Lost))
			}
		}},
}

func operationOf(h happening) string {
	phase, _ := h.of.Phase()
	switch {
	case h.Kind == ledger.Promised:
		return "create"
	case h.of.PromisedAt.IsZero():
		return "" // of one that the runner never saw
	case h.Kind == ledger.Ended, h.Kind == ledger.Failed:
		return "delete"
	case h.Kind == ledger.Entered && phase.Name == "suspend":
		return "suspend"
	case h.Kind == ledger.Entered && phase.Name == "resume":
		return "resume"
	}
	return ""
}

// isReady says that a worker is ready that was not before: a resumed one was.
func isReady(h happening) bool { return h.Kind == ledger.Ready && h.of.ReadyAt.Equal(h.At) }

func creationTime(h happening, add func(float64, ...string)) {
	if isReady(h) && !h.of.PromisedAt.IsZero() {
		add(between(h.of.PromisedAt, h.At))
	}
}

// phaseEnded is the phase that the event has ended.
func phaseEnded(h happening) (ledger.Span, bool) {
	for i := len(h.of.Spans) - 1; i >= max(0, len(h.of.Spans)-2); i-- {
		if span := h.of.Spans[i]; !span.Lasts() && span.End.Equal(h.At) && endsPhases(h.Kind) {
			return span, true
		}
	}
	return ledger.Span{}, false
}

func endsPhases(kind ledger.Kind) bool {
	switch kind {
	case ledger.Entered, ledger.Ready, ledger.Ended, ledger.Failed, ledger.Gone:
		return true
	}
	return false
}

// jobTime is that of the job that the event has ended.
func jobTime(h happening, add func(float64, ...string)) {
	last := len(h.of.Jobs) - 1
	if h.Kind == ledger.Worked {
		last-- // the one before the present one
	}
	if last >= 0 && (h.Kind == ledger.Worked || h.Kind == ledger.Ended || h.Kind == ledger.Failed) {
		add(between(h.of.Jobs[last].At, h.At))
	}
}

// usage reads what a worker took in all. What is not known is 0.
func usage(of func(ledger.Usage) float64) func(happening, func(float64, ...string)) {
	return func(h happening, add func(float64, ...string)) {
		if h.Kind == ledger.Used && h.Usage != nil && of(*h.Usage) > 0 {
			add(of(*h.Usage))
		}
	}
}

// between is 0 where the clock was set back in between.
func between(began, ended time.Time) float64 { return max(0, ended.Sub(began).Seconds()) }
