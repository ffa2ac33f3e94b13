package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

type explainCommand struct {
	configuration
	What string `arg:"" name:"ID|JOB" help:"A worker, by its id, or a job, by its number."`
	JSON bool   `help:"Print one JSON document."`
}

// explanation is what explain says of one worker.
type explanation struct {
	ID   string `json:"id"`
	Pool string `json:"pool"`
	// Phase is what it is in now, empty when it is gone; Why is why that takes its time.
	Phase string `json:"phase,omitempty"`
	Why   string `json:"why,omitempty"`
	// Phases add up to TotalSeconds, parts not counted; Slowest is the name of one of them.
	Phases       []explainedPhase `json:"phases"`
	TotalSeconds float64          `json:"total_seconds"`
	Slowest      string           `json:"slowest,omitempty"`

	Origin     ledger.Kind    `json:"origin"`
	BeganAt    time.Time      `json:"began_at"`
	PromisedAt time.Time      `json:"promised_at,omitzero"`
	ReadyAt    time.Time      `json:"ready_at,omitzero"`
	EndedAt    time.Time      `json:"ended_at,omitzero"`
	GoneAt     time.Time      `json:"gone_at,omitzero"`
	How        string         `json:"how,omitempty"`
	Image      string         `json:"image,omitempty"`
	Jobs       []explainedJob `json:"jobs,omitempty"`
	// Failed says that it ended unasked, Reason why it ended.
	Failed  bool          `json:"failed"`
	Reason  string        `json:"reason,omitempty"`
	Usage   *ledger.Usage `json:"usage,omitempty"`
	Console []string      `json:"console,omitempty"`
	// About is what is known of the pool itself, by what it is about: image, template,
	// start, renewal.
	About map[string]string `json:"about,omitempty"`
	// LostEvents is how many could not be written down while it was there.
	LostEvents int `json:"lost_events,omitempty"`
}

type explainedPhase struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	// Part says that the seconds are in those of the phase above too.
	Part   bool   `json:"part,omitempty"`
	Lasts  bool   `json:"lasts,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// explainedJob is a job as the guest says it.
type explainedJob struct {
	SeenAt time.Time `json:"seen_at"`
	ledger.Job
}

// Run explains the worker that was there last of those that are meant.
func (c explainCommand) Run(s *streams, h *host.Host) error {
	settings, _, err := c.load()
	if err != nil {
		return err
	}
	e, err := c.find(h, settings)
	if err != nil {
		return err
	}
	settings.Pool = e.Pool
	records, err := store.Look(settings.PoolDir())
	if err != nil {
		return err
	}
	e.Console = consoleTail(s, h, settings, records, e.ID)
	if ended, ok := endOf(records, e.ID); ok { // which is not only its first line
		e.Reason = ended.Reason
	}
	if c.JSON {
		return s.document(e)
	}
	return printExplanation(s.out, e, time.Now())
}

// find looks through the ledgers of all pools.
func (c explainCommand) find(h *host.Host, settings config.Config) (found explanation, err error) {
	all, err := ledgers(h, settings)
	if err != nil {
		return found, err
	}
	now := time.Now()
	for _, of := range all {
		histories, err := of.histories(time.Time{})
		if err != nil {
			return found, err
		}
		for _, w := range histories.Workers() {
			if w.Is(c.What) && w.Began.After(found.BeganAt) {
				found = explain(of.pool, w, histories.Why(w), now)
				found.About = histories.Notes()
			}
		}
	}
	if found.ID == "" {
		return found, fmt.Errorf("no worker has the id %q, and no job of that number was seen: "+
			"`events` lists what is known, for some days", c.What)
	}
	return found, nil
}

// explain says what a ledger tells of a worker.
func explain(pool string, w ledger.Worker, why string, now time.Time) explanation {
	e := explanation{
		ID: w.ID, Pool: pool, Why: why, TotalSeconds: w.Took(now).Seconds(), Slowest: w.Slowest(now).Name,
		Origin: w.Origin, BeganAt: w.Began,
		PromisedAt: w.PromisedAt, ReadyAt: w.ReadyAt, EndedAt: w.EndedAt, GoneAt: w.GoneAt,
		How: w.How, Image: w.Image, Failed: w.Failed, Reason: w.Reason, Usage: w.Usage, LostEvents: w.Lost,
	}
	if phase, lasts := w.Phase(); lasts {
		e.Phase = phase.Name
	}
	for _, line := range w.Lines(now) {
		e.Phases = append(e.Phases, explainedPhase{line.Name, line.Took.Seconds(), line.Part, line.Lasts, line.Reason})
	}
	for _, job := range w.Jobs {
		e.Jobs = append(e.Jobs, explainedJob{job.At, job.Job})
	}
	return e
}

// phaseMeanings are what phases are, for people.
var phaseMeanings = map[string]string{
	"stock":         "made ahead of time",
	"spare":         "ready to be asked for",
	"wait_disk":     "waiting for room on the disk",
	"wait_image":    "waiting for the golden image",
	"wait_template": "waiting for the template",
	"wait_budget":   "waiting for room on the host",
	"wait_start":    "waiting for its turn to start",
	"lease":         "network, keys and record",
	"start":         "starting the machine",
	"ready":         "until a login by SSH works",
	"run":           "ready for jobs",
	"suspend":       "being put away",
	"suspended":     "put away",
	"held":          "kept for a post-mortem",
	"resume":        "being brought back",
	"teardown":      "being removed",
	ledger.Other:    "what no phase accounts for",
}

// printExplanation prints one screen.
func printExplanation(to io.Writer, e explanation, now time.Time) error {
	fmt.Fprintf(to, "worker %s of pool %s, %s\n\n", e.ID, e.Pool, e.state())
	printFacts(to, e, now)
	fmt.Fprintln(to)
	if err := printPhases(to, e); err != nil {
		return err
	}
	if e.Why != "" {
		fmt.Fprintf(to, "\nnow in %s because: %s\n", e.Phase, e.Why)
	}
	if e.Reason != "" {
		fmt.Fprintf(to, "\nit ended: %s\n", e.Reason)
	}
	if len(e.Console) > 0 && !strings.Contains(e.Reason, e.Console[len(e.Console)-1]) { // which may quote it
		fmt.Fprintf(to, "\nlast lines of the console:\n  %s\n", strings.Join(e.Console, "\n  "))
	}
	return nil
}

// state says in words how the worker is doing.
func (e explanation) state() string {
	switch {
	case e.Phase != "" && e.Failed:
		return "failed, and " + cmp.Or(phaseMeanings[e.Phase], e.Phase)
	case e.Phase != "":
		return cmp.Or(phaseMeanings[e.Phase], e.Phase)
	case e.Failed:
		return "failed, and gone"
	}
	return "gone"
}

func printFacts(to io.Writer, e explanation, now time.Time) {
	fact := func(name, format string, values ...any) {
		fmt.Fprintf(to, "%-9s %s\n", name, fmt.Sprintf(format, values...))
	}
	began := cmp.Or(e.PromisedAt, e.BeganAt)
	fact(string(e.Origin), "%s, %s ago", began.Local().Format(time.DateTime), now.Sub(began).Round(time.Second))
	if !e.ReadyAt.IsZero() {
		fact("ready", "after %.2fs, as a %s of image %s",
			secondsBetween(began, e.ReadyAt), cmp.Or(e.How, "worker"), e.Image)
	}
	for _, job := range e.Jobs {
		fact("job", "%d of %s, %q, seen at %s; the guest says so",
			job.ID, job.Project, job.Name, job.SeenAt.Local().Format(time.TimeOnly))
	}
	if u := e.Usage; u != nil {
		fact("took", "%.1fs of processors, %d MiB of memory, %d MiB in, %d MiB out, %d MiB written",
			u.CPUSeconds, u.PeakMemory>>20, u.BytesIn>>20, u.BytesOut>>20, u.DiskWritten>>20)
		if u.Denied > 0 {
			fact("denied", "%d packets%s", u.Denied, deniedTo(u.DeniedTo))
		}
	}
	if e.GoneAt.IsZero() {
		for _, what := range slices.Sorted(maps.Keys(e.About)) {
			fact(what, "%s", e.About[what])
		}
	}
	if e.LostEvents > 0 {
		fact("lost", "%d events that could not be written down", e.LostEvents)
	}
}

func deniedTo(destinations []ledger.Denied) string {
	var to []string
	for _, d := range destinations {
		to = append(to, fmt.Sprintf("%s %s (%d)", d.Protocol, d.To, d.Packets))
	}
	if len(to) == 0 {
		return ""
	}
	return ": " + strings.Join(to, ", ")
}

// printPhases prints a line for each phase, and marks the slowest.
func printPhases(to io.Writer, e explanation) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PHASE\tSECONDS\tSHARE\tWHAT")
	for _, p := range e.Phases {
		name, share := p.Name, "-"
		if p.Part {
			name = "  " + name
		}
		if e.TotalSeconds > 0 {
			share = fmt.Sprintf("%.0f%%", 100*p.Seconds/e.TotalSeconds)
		}
		what := phaseMeanings[p.Name]
		if p.Name == e.Slowest {
			what = strings.TrimSpace(what + " <- slowest")
		}
		if p.Reason != "" {
			what += ": " + p.Reason
		}
		fmt.Fprintf(table, "%s\t%.2f\t%s\t%s\n", name, p.Seconds, share, what)
	}
	fmt.Fprintf(table, "all\t%.2f\n", e.TotalSeconds)
	return table.Flush()
}
