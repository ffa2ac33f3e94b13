package gitlab

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Stage is a part of a job, with when it began and ended by the runner's clock.
// Each section of a trace is one; those that run a script in the worker take a
// session of SSH each.
type Stage struct {
	Name         string
	Began, Ended time.Time
}

// Took is how long the stage took.
func (s Stage) Took() time.Duration { return s.Ended.Sub(s.Began) }

// Connecting is the stage that is no section of its own: the runner connects to
// the worker and logs in.
const Connecting = "connecting"

// timestamps is the feature flag by which a runner begins each line of a trace
// with the time.
const timestamps = "FF_TIMESTAMPS"

// mark is the begin or the end of a section, in the middle of a line.
var mark = regexp.MustCompile(`section_(start|end):\d+:([a-z0-9_]+)`)

// Stages reads a trace whose lines have times, which needs a Spec with
// Timestamps. The stages are in the order in which they ended.
func Stages(trace string) (stages []Stage, err error) {
	began := map[string]time.Time{}
	end := func(name string, at time.Time) error {
		if began[name].IsZero() {
			return fmt.Errorf("stage %s ends in the trace without a begin", name)
		}
		stages = append(stages, Stage{name, began[name], at})
		return nil
	}
	for line := range strings.Lines(trace) {
		stamp, text, _ := strings.Cut(line, " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			return nil, fmt.Errorf("a line of the trace has no time: %q", line)
		}
		if strings.Contains(text, "Dialing instance") {
			began[Connecting] = at
		}
		if strings.Contains(text, "Instance ") && strings.Contains(text, " connected") {
			if err := end(Connecting, at); err != nil {
				return nil, err
			}
		}
		for _, found := range mark.FindAllStringSubmatch(text, -1) {
			if found[1] == "start" {
				began[found[2]] = at
			} else if err := end(found[2], at); err != nil {
				return nil, err
			}
		}
	}
	return stages, nil
}
