package metrics

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

var update = flag.Bool("update", false, "write the table of docs/reference/metrics.md anew")

//go:generate go test -count=1 -run ^TestReferenceIsWhatTheCollectorHas$ -update .

// TestReferenceIsWhatTheCollectorHas holds the table of the page, which `make generate`
// writes. All else on the page is written by hand.
func TestReferenceIsWhatTheCollectorHas(t *testing.T) {
	const page = "../../docs/reference/metrics.md"
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), "| metric |")
	require.True(t, found)
	_, after, _ := strings.Cut(rest, "\n\n")
	var table strings.Builder
	table.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, d := range All() {
		labels := ""
		for _, label := range d.Labels {
			labels += fmt.Sprintf("`%s` ", label)
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", d.Name, d.Kind, strings.TrimSpace(labels), d.Help)
	}
	want := before + table.String() + "\n" + after
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
		return
	}
	assert.Empty(t, cmp.Diff(string(text), want), "run make generate")
}

// scraped is a collector of a view that may change, and what it is scraped by.
type scraped struct {
	*testing.T
	*Collector
	view observe.View
	err  error
}

func newScraped(t *testing.T) *scraped {
	s := &scraped{T: t, Collector: New("h")}
	s.ReadFrom(func(context.Context) (observe.View, error) { return s.view, s.err })
	return s
}

// scrape returns the values, and the counts of histograms, by name and labels but for the
// host's.
func (s *scraped) scrape() map[string]float64 {
	s.Helper()
	registry, err := Registry(s.Collector)
	require.NoError(s, err)
	families, err := registry.Gather()
	require.NoError(s, err)
	values := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.Metric {
			name := family.GetName()
			for _, label := range m.Label {
				if label.GetName() != "host" {
					name += " " + label.GetValue()
				}
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

// happen tells a worker's events, a second apart.
func (s *scraped) happen(events ...ledger.Event) {
	var told ledger.Histories
	at := time.Now()
	for _, e := range events {
		e.Worker, e.At = "p-aaaaaaaa", at
		told.Add(e)
		worker, _ := told.Worker(e.Worker)
		s.Happened("p", e, worker)
		at = at.Add(time.Second)
	}
}

func TestEachThingThatHappensIsCountedOnce(t *testing.T) {
	s := newScraped(t)
	s.happen(
		ledger.Event{Kind: ledger.Stocked},
		ledger.Event{Kind: ledger.Entered, Phase: "stock"},
		ledger.Event{Kind: ledger.Entered, Phase: "spare"},
		ledger.Event{Kind: ledger.Promised},
		ledger.Event{Kind: ledger.Entered, Phase: "start"},
		ledger.Event{Kind: ledger.Waits, Reason: "it takes its time"},
		ledger.Event{Kind: ledger.Ready, Phase: "run", How: "fork"},
		ledger.Event{Kind: ledger.Entered, Phase: "suspend"},
		ledger.Event{Kind: ledger.Used, Usage: &ledger.Usage{CPUSeconds: 2, Denied: 3}},
		ledger.Event{Kind: ledger.Entered, Phase: "suspended"},
		ledger.Event{Kind: ledger.Entered, Phase: "resume"},
		ledger.Event{Kind: ledger.Ready, Phase: "run", How: "fork"},
		ledger.Event{Kind: ledger.Ended, Phase: "teardown", Reason: "asked"},
		ledger.Event{Kind: ledger.Used, Usage: &ledger.Usage{CPUSeconds: 1, Denied: 1}},
		ledger.Event{Kind: ledger.Gone, Lost: 4},
	)
	got := s.scrape()
	for name, want := range map[string]float64{
		"fleeting_provisioner_instance_operations_total create p":  1,
		"fleeting_provisioner_instance_operations_total suspend p": 1,
		"fleeting_provisioner_instance_operations_total resume p":  1,
		"fleeting_provisioner_instance_operations_total delete p":  1,
		"fleeting_provisioner_instance_creation_time_seconds p":    1,
		"fleeting_provisioner_instance_is_running_time_seconds p":  1,
		"fleeting_provisioner_instance_deletion_time_seconds p":    1,
		"fleeting_provisioner_instance_life_duration_seconds p":    1,
		"mayfly_starts_total fork p":                               1,
		"mayfly_phase_seconds spare p":                             1,
		"mayfly_phase_seconds start p":                             1,
		"mayfly_phase_seconds run p":                               2,
		"mayfly_phase_seconds resume p":                            1,
		"mayfly_phase_seconds teardown p":                          1,
		"mayfly_cpu_seconds_total p":                               3,
		"mayfly_denied_packets_total p":                            4,
		"mayfly_lost_events_total p":                               4,
	} {
		assert.Equal(t, want, got[name], name)
	}
	assert.NotContains(t, got, "mayfly_failures_total run p")
}

// TestACanaryIsNoWorkOfTheRunners as the runner never sees it.
func TestACanaryIsNoWorkOfTheRunners(t *testing.T) {
	s := newScraped(t)
	s.happen(ledger.Event{Kind: ledger.Canary}, ledger.Event{Kind: ledger.Ready, Phase: "run", How: "clone"},
		ledger.Event{Kind: ledger.Ended, Phase: "teardown"}, ledger.Event{Kind: ledger.Gone})
	for name := range s.scrape() {
		assert.NotRegexp(t, "^fleeting_", name)
	}
}

func TestDeniedPacketsAreCountedWhileAWorkerRuns(t *testing.T) {
	s := newScraped(t)
	packets := uint64(10)
	worker := observe.Worker{Worker: ledger.Worker{ID: "p-aaaaaaaa"}, Pool: "p", State: pool.Running, Denied: &packets}
	s.view.Pools = []observe.Pool{{Name: "p", Workers: []observe.Worker{worker}}}
	assert.Zero(t, s.scrape()["mayfly_denied_packets_total p"], "those from before count for nobody")
	packets = 25
	assert.Equal(t, 15.0, s.scrape()["mayfly_denied_packets_total p"])
	assert.Equal(t, 15.0, s.scrape()["mayfly_denied_packets_total p"])
	// Its end tells all of them, and those that are told then are not counted again.
	s.happen(ledger.Event{Kind: ledger.Used, Usage: &ledger.Usage{Denied: 30}})
	s.view.Pools[0].Workers[0].State = pool.Deleting
	packets = 30
	assert.Equal(t, 20.0, s.scrape()["mayfly_denied_packets_total p"])
}

func TestWhatCannotBeLookedAtIsCounted(t *testing.T) {
	s := newScraped(t)
	s.err = errors.New("no such directory")
	got := s.scrape()
	assert.Equal(t, 1.0, got["mayfly_failed_scrapes_total"])
	assert.NotContains(t, got, "mayfly_disk_free_bytes")
}
