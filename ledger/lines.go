package ledger

import (
	"slices"
	"time"
)

// Line says where a part of a worker's time went.
type Line struct {
	// Name is the phase's, or the phase's and the part's with a dot between.
	Name string
	Took time.Duration
	// Part says that the time is counted in the line of the phase above too.
	Part bool
	// Lasts says that the worker is in the phase now.
	Lasts bool
	// Reason is the last one that was told for which the phase took its time.
	Reason string
}

// Other is the name of the line for what no phase accounts for.
const Other = "other"

// Lines say where all of the worker's time went: each phase once, in the order in which
// they were entered first, its parts below it, and last what no phase accounts for. The
// lines that are no parts add up to Took.
func (w Worker) Lines(now time.Time) (lines []Line) {
	var names []string
	for _, s := range w.Spans {
		if !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	for _, name := range names {
		lines = append(lines, w.linesOf(name, now)...)
	}
	return append(lines, Line{Name: Other, Took: w.Remainder(now)})
}

// linesOf are those of one phase, which may have been entered more than once.
func (w Worker) linesOf(name string, now time.Time) []Line {
	lines := []Line{{Name: name}}
	for _, s := range w.Spans {
		if s.Name != name {
			continue
		}
		lines[0].Took += s.Took(now)
		lines[0].Lasts = s.Lasts()
		if s.Reason != "" {
			lines[0].Reason = s.Reason
		}
		for _, part := range s.Parts {
			of := name + "." + part.Name
			i := slices.IndexFunc(lines, func(l Line) bool { return l.Name == of })
			if i < 0 {
				i = len(lines)
				lines = append(lines, Line{Name: of, Part: true})
			}
			lines[i].Took += part.Took
		}
	}
	return lines
}

// Slowest is the line that most of the worker's time went to, but for that in which it was
// of use, or was put away. Where one part took most of a phase, that is the line.
func (w Worker) Slowest(now time.Time) (slowest Line) {
	lines := w.Lines(now)
	for _, line := range lines {
		nobodyWaits := slices.Contains([]string{Run, Spare, Suspended, Held}, line.Name)
		if !line.Part && !nobodyWaits && line.Took > slowest.Took {
			slowest = line
		}
	}
	for _, line := range lines {
		if line.Part && line.Took > slowest.Took/2 && slowest.Name == phaseOf(line.Name) {
			line.Reason, line.Lasts = slowest.Reason, slowest.Lasts
			return line
		}
	}
	return slowest
}
