package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// life is a worker's, an event each second.
func life(events ...Event) (w Worker, now time.Time) {
	now = time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	var histories Histories
	for _, e := range events {
		e.At, e.Worker = now, worker
		histories.Add(e)
		now = now.Add(time.Second)
	}
	return histories.Workers()[0], now
}

func TestALifeIsPutTogether(t *testing.T) {
	w, now := life(
		Event{Kind: Promised},
		Event{Kind: Entered, Phase: "wait_image"},
		Event{Kind: Waits, Reason: "no room on the disk"},
		Event{Kind: Entered, Phase: "start"},
		Event{Kind: Passed, Phase: "start.disk"},
		Event{Kind: Passed, Phase: "start.process"},
		Event{Kind: Passed, Phase: "start.process"},
		Event{Kind: Entered, Phase: "ready"},
		Event{Kind: Ready, Phase: "run", How: "fork", Image: "1234"},
		Event{Kind: Worked, Job: &Job{ID: 7}},
		Event{Kind: Passed, Phase: "start.disk"}, // of a phase that is over
		Event{Kind: Failed, Phase: "teardown", Reason: "it crashed"},
		Event{Kind: Used, Usage: &Usage{CPUSeconds: 3}, Lost: 2},
		Event{Kind: Gone},
	)
	at := func(second int) time.Time { return w.Began.Add(time.Duration(second) * time.Second) }
	require.Equal(t, Worker{
		ID: worker, Origin: Promised, Began: at(0), PromisedAt: at(0), ReadyAt: at(8), EndedAt: at(11), GoneAt: at(13),
		Spans: []Span{
			{Name: "wait_image", Begin: at(1), End: at(3), Reason: "no room on the disk"},
			{Name: "start", Begin: at(3), End: at(7), Parts: []Part{
				{"disk", time.Second}, {"process", 2 * time.Second},
			}},
			{Name: "ready", Begin: at(7), End: at(8)},
			{Name: "run", Begin: at(8), End: at(11)},
			{Name: "teardown", Begin: at(11), End: at(13)},
		},
		How: "fork", Image: "1234", Jobs: []SeenJob{{at(9), Job{ID: 7}}},
		Failed: true, Reason: "it crashed", Usage: &Usage{CPUSeconds: 3}, Lost: 2,
	}, w)
	require.Equal(t, 13*time.Second, w.Took(now.Add(time.Hour)), "it is gone")
	require.Equal(t, time.Second, w.Remainder(now), "before its first phase")
	_, lasts := w.Phase()
	require.False(t, lasts)
	require.True(t, w.Is("7") && w.Is(worker))
	require.False(t, w.Is("") || w.Is("8"))
}

func TestAPhaseThatLasts(t *testing.T) {
	w, now := life(
		Event{Kind: Promised}, Event{Kind: Entered, Phase: "wait_budget"}, Event{Kind: Waits, Reason: "no memory"})
	phase, lasts := w.Phase()
	require.True(t, lasts)
	require.Equal(t, "wait_budget", phase.Name)
	require.Equal(t, "no memory", phase.Reason)
	require.Equal(t, 2*time.Second, phase.Took(now))
	require.Equal(t, 3*time.Second, w.Took(now))
}

func TestWhatAKilledProcessHasLeftIsGone(t *testing.T) {
	var histories Histories
	for _, e := range []Event{
		{Worker: "p-aaaaaaaa", Kind: Ready, Phase: Run},
		{Worker: "p-bbbbbbbb", Kind: Entered, Phase: Suspended},
		{Worker: "p-cccccccc", Kind: Ended, Phase: "teardown", Reason: "deleted on request"},
		{Kind: Opened},
		{Worker: "p-dddddddd", Kind: Promised},
	} {
		e.At = time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
		histories.Add(e)
	}
	gone := map[string]string{}
	for _, w := range histories.Workers() {
		if !w.GoneAt.IsZero() {
			gone[w.ID] = w.Reason
		}
	}
	require.Equal(t, map[string]string{
		"p-aaaaaaaa": "its plugin was killed", "p-cccccccc": "deleted on request",
	}, gone)
}

func TestWorkersAreToldApart(t *testing.T) {
	var histories Histories
	histories.Add(Event{Worker: "p-aaaaaaaa", Kind: Promised})
	histories.Add(Event{Kind: Noted, Phase: "image"})
	histories.Add(Event{Worker: "p-bbbbbbbb", Kind: Orphan})
	histories.Add(Event{Worker: "p-aaaaaaaa", Kind: Ready})
	workers := histories.Workers()
	require.Len(t, workers, 2)
	require.Equal(t, []Kind{Promised, Orphan}, []Kind{workers[0].Origin, workers[1].Origin})
	histories.Forget("p-aaaaaaaa")
	require.Len(t, histories.Workers(), 1)
}

// TestSpansFollowEachOther has events in any order: no time is counted twice.
func TestSpansFollowEachOther(t *testing.T) {
	kinds := []Kind{Promised, Entered, Passed, Waits, Ready, Worked, Ended, Failed, Used, Gone}
	rapid.Check(t, func(t *rapid.T) {
		var events []Event
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			events = append(events, Event{
				Kind:  rapid.SampledFrom(kinds).Draw(t, "kind"),
				Phase: rapid.SampledFrom([]string{"", "start", "start.disk", "ready"}).Draw(t, "phase"),
			})
		}
		w, now := life(events...)
		for i, s := range w.Spans {
			require.False(t, i+1 < len(w.Spans) && (s.Lasts() || s.End.After(w.Spans[i+1].Begin)))
		}
		if w.GoneAt.IsZero() {
			require.GreaterOrEqual(t, w.Remainder(now), time.Duration(0))
		}
	})
}

func TestWhatASuspendedWorkerTookIsAddedUp(t *testing.T) {
	before := Usage{CPUSeconds: 1, PeakMemory: 5, BytesIn: 1, Denied: 1, DeniedTo: []Denied{{"tcp", "a", 1}}}
	after := Usage{CPUSeconds: 2, PeakMemory: 3, BytesOut: 7, DiskWritten: 9, DeniedTo: []Denied{{"udp", "b", 2}}}
	w, _ := life(
		Event{Kind: Promised}, Event{Kind: Used, Usage: &before}, Event{Kind: Used}, Event{Kind: Used, Usage: &after})
	require.Equal(t, &Usage{
		CPUSeconds: 3, PeakMemory: 5, BytesIn: 1, BytesOut: 7, DiskWritten: 9, Denied: 1,
		DeniedTo: []Denied{{"tcp", "a", 1}, {"udp", "b", 2}},
	}, w.Usage)
}
