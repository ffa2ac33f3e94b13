//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// section is a part of the run that can be measured alone.
type section struct {
	// change is what its pools have beside the common configuration.
	change func(*config.Config)
	// measure puts what it has measured into the document. It may set up more
	// than the stage: all is undone after it.
	measure func(*bench, context.Context, *stage, *report.Document) error
}

// sections are those of report.Sections.
var sections = map[string]section{
	report.SectionWorkers: {asItIs, (*bench).measureWorkers},
	report.SectionParts:   {asItIs, (*bench).measureParts},
	report.SectionStart:   {asItIs, (*bench).measureStart},
	report.SectionWarm:    {withServices, (*bench).measureWarm},
	report.SectionDevices: {withServices, (*bench).measureDevices},
	report.SectionDensity: {withRoom, (*bench).measureDensity},
	report.SectionNspawn:  {asItIs, (*bench).measureNspawn},
}

func asItIs(*config.Config) {}

// measureSection measures one, and writes it.
func (b *bench) measureSection(ctx context.Context, name string) error {
	b.say("section %q", name)
	began, d := time.Now(), report.Document{Version: report.Version}
	b.repeated = 0
	err := b.within(ctx, func() error {
		s, err := b.setUp(ctx, sections[name].change)
		if err != nil {
			return err
		}
		if err := sections[name].measure(b, ctx, s, &d); err != nil {
			return err
		}
		run, err := b.describe(ctx, s, began)
		d.Runs = map[string]report.Run{name: run}
		return err
	})
	if err != nil {
		return err
	}
	for _, place := range places(d, d) {
		if place.file == performanceFile {
			fmt.Println(place.content)
		}
	}
	if b.dryRun {
		return nil
	}
	return write(d)
}

// way is a column of a comparison.
type way struct {
	name string
	// measure makes what it needs, returns how many seconds each row took, and
	// removes what it has made.
	measure func(context.Context) (map[string]float64, error)
}

// compare takes the ways in turn, so that other load on the machine affects all
// of them, and puts the comparison into the document.
func (b *bench) compare(ctx context.Context, d *report.Document, name string, rows []string, ways []way) error {
	samples := make(map[string]map[string][]float64)
	var names []string
	for _, w := range ways {
		names = append(names, w.name)
		samples[w.name] = make(map[string][]float64)
	}
	for turn := range b.turns {
		for _, w := range ways {
			b.say("%s, turn %d of %d: %s", name, turn+1, b.turns, w.name)
			var took map[string]float64
			err := b.insist(ctx, func() (err error) {
				took, err = w.measure(ctx)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			for row, seconds := range took {
				b.say("  %s: %.2f s", row, seconds)
				samples[w.name][row] = append(samples[w.name][row], seconds)
			}
		}
	}
	d.Compared = map[string]report.Comparison{name: report.NewComparison(names, rows, samples)}
	return nil
}

// one starts a worker for work, and removes it.
func one(ctx context.Context, m method, work func(worker) error) error {
	workers, err := m.start(ctx, 1)
	if err == nil {
		err = work(workers[0])
	}
	return errors.Join(err, limited(ctx, m.remove))
}
