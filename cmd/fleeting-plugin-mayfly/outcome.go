package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// outcome is what try says to machines.
type outcome struct {
	Backend      string       `json:"backend"`
	Acceleration string       `json:"acceleration"`
	Image        outcomeImage `json:"image"`
	Jobs         []*job       `json:"jobs"`
	LeftOver     []string     `json:"left_over"`

	wanted  int     // jobs
	reason  string  // why the acceleration is what it is
	seconds float64 // from the start of the plugin to its end
}

type outcomeImage struct {
	Digest       string  `json:"digest"`
	BuiltSeconds float64 `json:"built_seconds"`
}

// job is one job that came to an end.
type job struct {
	Worker       string  `json:"worker"`
	How          string  `json:"how"`
	ReadySeconds float64 `json:"ready_seconds"`
	ExitCode     int     `json:"exit_code"`
	Stdout       string  `json:"stdout"`
	Stderr       string  `json:"stderr"`

	acceleration string
	seconds      float64
}

func newOutcome(backend string, golden image.Golden) *outcome {
	return &outcome{
		Backend:  backend,
		Image:    outcomeImage{golden.Digest, golden.BuiltSeconds},
		Jobs:     []*job{},
		LeftOver: []string{},
	}
}

// add takes the jobs that came to an end; nil stands for one that did not.
func (o *outcome) add(jobs []*job) {
	o.wanted = len(jobs)
	for _, j := range jobs {
		if j == nil {
			continue
		}
		o.Jobs = append(o.Jobs, j)
		o.Acceleration = cmp.Or(o.Acceleration, j.acceleration)
	}
}

// good says whether all jobs succeeded, and left no orphans.
func (o *outcome) good() bool {
	for _, j := range o.Jobs {
		if j.ExitCode != 0 {
			return false
		}
	}
	return len(o.LeftOver) == 0
}

// table prints the outcome for people: what the jobs said, and then the times.
func (o *outcome) table(to io.Writer) error {
	for _, j := range o.Jobs {
		printOutput(to, j.Worker, j.Stdout)
		printOutput(to, j.Worker, j.Stderr)
	}
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nWORKER\tHOW\tREADY\tJOB\tEXIT")
	for _, j := range o.Jobs {
		fmt.Fprintf(table, "%s\t%s\t%.1fs\t%.1fs\t%d\n", j.Worker, j.How, j.ReadySeconds, j.seconds, j.ExitCode)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(to, "\n%d of %d jobs ran, in %.1fs, on %s\n", len(o.Jobs), o.wanted, o.seconds, o.machines())
	fmt.Fprintf(to, "image %s, built in %.0fs\n", o.Image.Digest, o.Image.BuiltSeconds)
	if len(o.LeftOver) > 0 {
		fmt.Fprintf(to, "orphans:\n  %s\n", strings.Join(o.LeftOver, "\n  "))
		return nil
	}
	_, err := fmt.Fprintln(to, "no orphans are left")
	return err
}

// machines names the backend, and how fast its machines are, and why.
func (o *outcome) machines() string {
	text := o.Backend
	if o.Acceleration != "" {
		text += " with " + o.Acceleration
	}
	if o.reason != "" {
		text += " (" + o.reason + ")"
	}
	return text
}

func printOutput(to io.Writer, worker, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(to, "%s | %s\n", worker, strings.TrimRight(line, "\r\n"))
	}
}
