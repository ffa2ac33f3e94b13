//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/gitlab"
)

// pathRounds is how often each kind of job is run on each backend.
const pathRounds = 5

// Rows of the table that are no stages of a trace.
const (
	rowTaken = "taken, up to connecting"
	rowFirst = "= taken, up to the first script line"
	rowWhole = "= taken, up to its end"
)

// Kinds of jobs: one that only runs a script, as those of the scenario idle, and one
// with a session for each stage that a job may have.
var (
	onlyScript = gitlab.Spec{Name: "script"}
	allStages  = gitlab.Spec{
		Name: "all stages", Git: true, Artifacts: []string{"made"}, AfterScript: []string{"echo after"},
	}
)

// paths are what the table compares. With an idle worker each job finds one that
// has been ready for a second at least, without it one that is made for it.
var paths = []struct {
	backend string
	idle    int
	kinds   []gitlab.Spec
}{
	{"qemu", 1, []gitlab.Spec{onlyScript, allStages}},
	{"qemu", 0, []gitlab.Spec{onlyScript}},
	{"nspawn", 1, []gitlab.Spec{onlyScript, allStages}},
}

// path tells where the seconds of a job go, for virtual machines and for
// containers.
func path(ctx context.Context, s *stage) error {
	var table []column
	for _, p := range paths {
		set := settings{executor: "instance", idle: p.idle, backend: p.backend}
		err := s.with(ctx, set, func(*runner) error {
			for _, kind := range p.kinds {
				times, err := s.pathOf(ctx, kind, p.idle)
				if err != nil {
					return err
				}
				table = append(table, column{fmt.Sprintf("%s, %d idle, %s", p.backend, p.idle, kind.Name), times})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return printTable(os.Stdout, table)
}

// pathOf runs such a job a few times, each on a worker of its own, and returns what
// each row took.
func (s *stage) pathOf(ctx context.Context, kind gitlab.Spec, idle int) (map[string][]time.Duration, error) {
	kind.Script, kind.Timestamps = []string{firstLine, "echo made >made"}, true
	times := map[string][]time.Duration{}
	for range pathRounds {
		if err := s.awaitWorkers(ctx, pool.Running, idle); err != nil {
			return nil, err
		}
		time.Sleep(time.Second) // the runner has to see it too
		job := s.gitlab.Offer(kind)
		outcome, err := await(ctx, job, gitlab.Success)
		if err != nil {
			return nil, err
		}
		rows, err := pathRows(job.Began(), outcome)
		if err != nil {
			return nil, fmt.Errorf("job %d: %w; its trace:\n%s", job.ID, err, outcome.Trace)
		}
		for name, took := range rows {
			times[name] = append(times[name], took)
		}
	}
	return times, nil
}

// pathRows is what each row took in one job.
func pathRows(taken time.Time, outcome gitlab.Outcome) (map[string]time.Duration, error) {
	stages, err := gitlab.Stages(outcome.Trace)
	if err != nil {
		return nil, err
	}
	if len(stages) == 0 {
		return nil, fmt.Errorf("the trace has no stages")
	}
	rows := map[string]time.Duration{}
	for _, stage := range stages {
		rows[stage.Name] += stage.Took()
		if stage.Name == gitlab.Connecting {
			rows[rowTaken] = stage.Began.Sub(taken)
		}
	}
	began, err := strconv.ParseFloat(after(outcome.Trace, "began "), 64)
	if err != nil {
		return nil, fmt.Errorf("when the script began: %w", err)
	}
	rows[rowFirst] = time.Unix(0, int64(began*1e9)).Sub(taken)
	rows[rowWhole] = stages[len(stages)-1].Ended.Sub(taken)
	return rows, nil
}

// column has what each row took in all jobs of a kind.
type column struct {
	name  string
	times map[string][]time.Duration
}

// pathOrder is the order of the rows, which is that in which they begin.
var pathOrder = []string{
	rowTaken, gitlab.Connecting, "prepare_script", "get_sources", rowFirst,
	"step_script", "after_script", "upload_artifacts_on_success", "cleanup_file_variables", rowWhole,
}

// printTable prints medians, with the least and the most of each. The stage
// that lies around connecting is left out.
func printTable(to io.Writer, table []column) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "   seconds, medians of %d (least, most)", pathRounds)
	for _, c := range table {
		fmt.Fprintf(w, "\t%s", c.name)
	}
	fmt.Fprintln(w)
	for _, row := range pathOrder {
		fmt.Fprintf(w, "   %s", row)
		for _, c := range table {
			fmt.Fprintf(w, "\t%s", cell(c.times[row]))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func cell(times []time.Duration) string {
	if len(times) == 0 {
		return "-"
	}
	sorted := slices.Sorted(slices.Values(times))
	return fmt.Sprintf("%.2f (%.2f, %.2f)", sorted[len(sorted)/2].Seconds(), sorted[0].Seconds(),
		sorted[len(sorted)-1].Seconds())
}
