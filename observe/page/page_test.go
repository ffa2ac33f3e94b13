package page

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// hostile is what a guest, or whoever names a host, may say.
const hostile = `<script>alert("x")</script>`

// source shows one view.
type source struct {
	view observe.View
	err  error
}

func (s source) Look(context.Context) (observe.View, error) { return s.view, s.err }

func (s source) Worker(_ context.Context, id string) (observe.Worker, []ledger.Event, bool, error) {
	for _, w := range s.view.Alive() {
		if w.ID == id {
			return w, []ledger.Event{{At: w.Began, Kind: ledger.Waits, Reason: hostile}}, true, s.err
		}
	}
	return observe.Worker{}, nil, false, s.err
}

func (s source) Console(observe.Worker) ([]string, error) { return []string{hostile}, nil }

func get(s source, path string) (status int, body string) {
	answer := httptest.NewRecorder()
	Handler(s).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer.Code, answer.Body.String()
}

func TestWhatOthersSayIsText(t *testing.T) {
	now := time.Now()
	worker := observe.Worker{Pool: "p", State: pool.Running, MissingRules: hostile, Worker: ledger.Worker{
		ID: "p-aaaaaaaa", Began: now.Add(-time.Minute), Reason: hostile, How: hostile, Image: hostile,
		Spans: []ledger.Span{{Name: hostile, Begin: now.Add(-time.Minute), Reason: hostile}},
		Jobs:  []ledger.SeenJob{{At: now, Job: ledger.Job{ID: 1, Name: hostile, Project: hostile}}},
		Usage: &ledger.Usage{DeniedTo: []ledger.Denied{{Protocol: hostile, To: hostile, Packets: 1}}},
	}}
	view := observe.View{At: now, Host: hostile,
		Pools:    []observe.Pool{{Name: "p", Backend: hostile, Workers: []observe.Worker{worker}}},
		Problems: []observe.Problem{{Kind: observe.Slow, Pool: "p", Worker: worker.ID, Text: hostile}},
	}
	for _, path := range []string{"/", "/workers/p-aaaaaaaa"} {
		status, body := get(source{view: view}, path)
		assert.Equal(t, http.StatusOK, status, path)
		assert.NotContains(t, body, hostile, path)
		assert.Contains(t, body, "&lt;script&gt;alert(", path)
	}
}

func TestWhatCannotBeShownIsSaid(t *testing.T) {
	for path, want := range map[string]int{"/": 503, "/workers/p-aaaaaaaa": 503, "/elsewhere": 404} {
		status, body := get(source{err: errors.New(hostile)}, path)
		assert.Equal(t, want, status, path)
		assert.NotContains(t, body, hostile, path)
	}
	status, body := get(source{}, "/workers/p-aaaaaaaa")
	assert.Equal(t, http.StatusNotFound, status)
	assert.Contains(t, body, "No ledger knows this worker")
	status, body = get(source{}, "/")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "No pool has been opened yet")
}

func TestPhasesFollowOneAnother(t *testing.T) {
	began := time.Now()
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	phases := []ledger.Span{
		{Name: "wait_image", Begin: at(0), End: at(1)}, {Name: "start", Begin: at(1), End: at(4)},
		{Name: "odd_one", Begin: at(4)},
	}
	w := waterfallOf("Start", phases, at(8))
	assert.Equal(t, 8*time.Second, w.Whole)
	var bars []segment
	for _, row := range w.Rows {
		bars = append(bars, row.Bar)
	}
	assert.Equal(t, []segment{
		{Kind: "wait-image", From: 0, Width: 125}, {Kind: "start", From: 125, Width: 375},
		{Kind: "other", From: 500, Width: 500},
	}, bars)
	assert.Equal(t, "odd one", w.Rows[2].Name)
	assert.True(t, w.Rows[2].Lasts)
}

func TestDurationsArePrintedForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 310 * time.Millisecond: "0.31 s", 12340 * time.Millisecond: "12.3 s",
		75 * time.Second:  "1 min 15 s",
		125 * time.Minute: "2 h 5 min", 72 * time.Hour: "3 days",
	} {
		assert.Equal(t, want, took(d))
	}
}
