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
)

// options are what the caller decides.
type options struct {
	// counts are how many workers are started at once, each for so many
	// rounds: one at a time, or several.
	counts                []int
	rounds, roundsSeveral int
	// stateDir keeps the golden image for the next run; empty means a new one
	// that is removed in the end.
	stateDir string
	dryRun   bool
}

// mostAtOnce is the largest count that is accepted: more is taken for a mistake.
const mostAtOnce = 64

func parseOptions(arguments []string, output io.Writer) (options, error) {
	var o options
	var counts string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.StringVar(&counts, "counts", "1 4 8", "how many workers to start at once, one after the other")
	flags.IntVar(&o.rounds, "rounds", 5, "how often, with one worker at a time")
	flags.IntVar(&o.roundsSeveral, "rounds-several", 2, "how often, with several at once")
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
	if o.stateDir != "" {
		var err error
		if o.stateDir, err = filepath.Abs(o.stateDir); err != nil {
			return options{}, fmt.Errorf("-state-dir: %w", err)
		}
	}
	var err error
	o.counts, err = parseCounts(counts)
	return o, err
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
