//go:build linux

package main

import (
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// options are what the caller decides.
type options struct {
	// sections are what is measured, in the order of report.Sections.
	sections []string
	// counts are how many workers are started at once, each for so many
	// rounds: one at a time, or several.
	counts                []int
	rounds, roundsSeveral int
	// turns is how often each way of a comparison is taken.
	turns int
	// density is how much memory idle workers are to fill, in bytes.
	density int64
	// stateDir keeps the golden image for the next run; empty means a new one
	// that is removed in the end.
	stateDir string
	dryRun   bool
}

// mostAtOnce is the largest count that is accepted: more is taken for a mistake.
const mostAtOnce = 64

// Bounds of how many GiB are filled: one worker of the old way takes about one.
const (
	leastDensity = 1
	mostDensity  = 256
)

func parseOptions(arguments []string, output io.Writer) (options, error) {
	var o options
	var counts, sections string
	var gibibytes float64
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.StringVar(&sections, "sections", "",
		"what to measure: some of "+strings.Join(report.Sections, " ")+"; empty is all")
	flags.StringVar(&counts, "counts", "1 4 8", "how many workers to start at once, one after the other")
	flags.IntVar(&o.rounds, "rounds", 5, "how often, with one worker at a time")
	flags.IntVar(&o.roundsSeveral, "rounds-several", 2, "how often, with several at once")
	flags.IntVar(&o.turns, "turns", 3, "how often, in the sections that compare ways")
	flags.Float64Var(&gibibytes, "density", 8, "how many GiB idle workers are to fill")
	flags.StringVar(&o.stateDir, "state-dir", "",
		"where images are kept; without it, a new directory that is removed in the end")
	flags.BoolVar(&o.dryRun, "dry-run", false, "print the tables and write nothing")
	if err := flags.Parse(arguments); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.rounds < 1 || o.roundsSeveral < 1 {
		return options{}, fmt.Errorf("-rounds %d, -rounds-several %d: each must be 1 at least",
			o.rounds, o.roundsSeveral)
	}
	if o.turns < 1 {
		return options{}, fmt.Errorf("-turns %d: must be 1 at least", o.turns)
	}
	if !(gibibytes >= leastDensity && gibibytes <= mostDensity) { // NaN too
		return options{}, fmt.Errorf("-density %g: must be from %d to %d", gibibytes, leastDensity, mostDensity)
	}
	o.density = int64(gibibytes * (1 << 30))
	if o.stateDir != "" {
		var err error
		if o.stateDir, err = filepath.Abs(o.stateDir); err != nil {
			return options{}, fmt.Errorf("-state-dir: %w", err)
		}
	}
	var err error
	if o.counts, err = parseCounts(counts); err != nil {
		return options{}, err
	}
	o.sections, err = parseSections(sections)
	return o, err
}

// parseSections returns them in their own order, whatever the order in text.
func parseSections(text string) ([]string, error) {
	wanted := strings.Fields(text)
	for _, name := range wanted {
		if !slices.Contains(report.Sections, name) {
			return nil, fmt.Errorf("-sections %q: %q is none of %s", text, name, strings.Join(report.Sections, ", "))
		}
	}
	if len(wanted) == 0 {
		return report.Sections, nil
	}
	var sections []string
	for _, name := range report.Sections {
		if slices.Contains(wanted, name) {
			sections = append(sections, name)
		}
	}
	return sections, nil
}

func parseCounts(text string) ([]int, error) {
	var counts []int
	for word := range strings.FieldsSeq(text) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > mostAtOnce {
			return nil, fmt.Errorf("-counts %q: %q is not a number from 1 to %d", text, word, mostAtOnce)
		}
		if slices.Contains(counts, n) {
			return nil, fmt.Errorf("-counts %q: %d is there twice", text, n)
		}
		counts = append(counts, n)
	}
	if len(counts) == 0 {
		return nil, fmt.Errorf("-counts %q: name one number at least, such as \"1 4 8\"", text)
	}
	return counts, nil
}

// roundsOf is how often so many workers are started at once.
func (o options) roundsOf(count int) int {
	if count == 1 {
		return o.rounds
	}
	return o.roundsSeveral
}
