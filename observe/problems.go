package observe

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// Problem is something that a person should know of.
type Problem struct {
	// Kind tells one sort of problem from another: a word for alerts.
	Kind string `json:"kind"`
	// Pool and Worker are empty where it is not of one.
	Pool   string `json:"pool,omitempty"`
	Worker string `json:"worker,omitempty"`
	// Text says what is wrong, on one line.
	Text  string    `json:"text"`
	Since time.Time `json:"since,omitzero"`
}

// Kinds of problems, the gravest first.
const (
	Unguarded = "unguarded" // a worker runs without its rules
	Spared    = "spared"    // every worker of the image fails
	Closed    = "closed"    // nothing may start on the host now
	Slow      = "slow"      // a start takes unusually long
	Failing   = "failing"   // workers ended unasked not long ago
	Renewal   = "renewal"   // the image could not be renewed
	Unknown   = "unknown"   // something could not be found out
)

// Kinds are all kinds of problems, the gravest first.
var Kinds = []string{Unguarded, Spared, Closed, Slow, Failing, Renewal, Unknown}

// Recently is how long a worker that ended unasked is a problem.
const Recently = time.Hour

// A start is slow in a phase that takes longer than slowest, and slowTimes as long as is
// usual for it.
const (
	slowest   = 10 * time.Second
	slowTimes = 3
)

// problemsOf lists what is wrong in a view.
func problemsOf(v View) []Problem {
	problems := []Problem{} // a list in JSON too
	if v.Share.Closed != "" {
		problems = append(problems, Problem{Kind: Closed, Text: "no worker starts on this host: " + v.Share.Closed})
	}
	for _, p := range v.Pools {
		problems = slices.Concat(problems, p.problems(v.At))
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Compare(slices.Index(Kinds, a.Kind), slices.Index(Kinds, b.Kind))
	})
	return problems
}

func (p Pool) problems(now time.Time) (problems []Problem) {
	add := func(kind, worker string, since time.Time, text string) {
		problems = append(problems, Problem{Kind: kind, Pool: p.Name, Worker: worker, Text: text, Since: since})
	}
	for _, w := range p.Workers {
		if w.MissingRules != "" {
			add(Unguarded, w.ID, time.Time{}, "it runs without its firewall rules: "+w.MissingRules)
		}
	}
	for _, s := range p.slow(now) {
		text := fmt.Sprintf("it is in %s for longer than usual", s.phase.Name)
		if s.others > 0 {
			text = fmt.Sprintf("it and %d more are in %s for longer than usual", s.others, s.phase.Name)
		}
		if s.phase.Reason != "" {
			text += ": " + s.phase.Reason
		}
		add(Slow, s.worker, s.phase.Begin, text)
	}
	if p.Spared != nil {
		add(Spared, "", p.Spared.Since, p.Spared.String())
	}
	if n := len(p.Ended); n > 0 && now.Sub(p.Ended[n-1].EndedAt) < Recently {
		last := p.Ended[n-1]
		recent := slices.IndexFunc(p.Ended, func(e store.Ended) bool { return now.Sub(e.EndedAt) < Recently })
		text := fmt.Sprintf("%d workers ended unasked within the last hour, the last one: %s",
			n-recent, lines.First(last.Reason))
		add(Failing, last.ID, last.EndedAt, text)
	}
	if failed := p.Image.Failed; failed != nil {
		add(Renewal, "", failed.At, fmt.Sprintf("image %s: %s", p.Image.Digest, failed))
	}
	for _, text := range p.Unknown {
		add(Unknown, "", time.Time{}, "not known: "+text)
	}
	return problems
}

// slowStart is a worker whose start takes unusually long in a phase, and how many more do
// in the same one.
type slowStart struct {
	worker string
	phase  ledger.Span
	others int
}

// slow finds starts that take unusually long: of each phase the one that is in it longest.
func (p Pool) slow(now time.Time) (found []slowStart) {
	usual := p.usual()
	for _, w := range p.Workers {
		phase, lasts := w.Phase()
		starts := w.State == pool.Creating || w.State == pool.Resuming
		if !starts || !lasts || phase.Took(now) <= max(slowest, slowTimes*usual[phase.Name]) {
			continue
		}
		i := slices.IndexFunc(found, func(s slowStart) bool { return s.phase.Name == phase.Name })
		if i < 0 {
			found = append(found, slowStart{w.ID, phase, 0})
			continue
		}
		found[i].others++
		if phase.Begin.Before(found[i].phase.Begin) {
			found[i].worker, found[i].phase = w.ID, phase
		}
	}
	return found
}

// usual is the median of each phase in the last starts.
func (p Pool) usual() map[string]time.Duration {
	took := make(map[string][]time.Duration)
	for _, w := range p.Starts() {
		for _, phase := range w.Start() {
			took[phase.Name] = append(took[phase.Name], phase.Took(w.ReadyAt))
		}
	}
	usual := make(map[string]time.Duration, len(took))
	for name, all := range took {
		slices.Sort(all)
		usual[name] = all[len(all)/2]
	}
	return usual
}
