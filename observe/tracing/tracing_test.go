package tracing

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// patience is how long a test waits for what should take a second or two.
const patience = time.Minute

// receiver takes spans as an OTLP receiver does.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*otlp.Span
	about map[string]string // of the resource
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{about: make(map[string]string)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		var got collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &got)
		}
		if err != nil || request.URL.Path != "/v1/traces" {
			http.Error(w, fmt.Sprint(request.URL.Path, err), http.StatusBadRequest)
			return
		}
		r.take(&got)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(got *collector.ExportTraceServiceRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range got.ResourceSpans {
		for _, attribute := range of.Resource.Attributes {
			r.about[attribute.Key] = attribute.Value.GetStringValue()
		}
		for _, scope := range of.ScopeSpans {
			r.spans = append(r.spans, scope.Spans...)
		}
	}
}

// received are the spans up to now, by their names.
func (r *receiver) received() map[string]*otlp.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	named := make(map[string]*otlp.Span)
	for _, span := range r.spans {
		named[span.Name] = span
	}
	return named
}

// pool is a pool with a ledger, whose traces go to an endpoint.
func pool(t *testing.T, endpoint string) (config.Config, *ledger.Ledger) {
	c, err := config.Parse(fmt.Appendf(nil, `{"state_dir": %q, "tracing": {"endpoint": %q}}`, "/tmp", endpoint))
	require.NoError(t, err)
	c.StateDir = t.TempDir()
	book, err := ledger.Open(filepath.Join(c.PoolDir(), ledger.Dir))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, book.Close()) })
	return c, book
}

// run runs what a plugin process does for traces, until the function that it returns has
// ended it.
func run(c config.Config, log io.Writer) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { Run(ctx, nil, c, slog.New(slog.NewTextHandler(log, nil))) })
	return func() { cancel(); running.Wait() }
}

const worker = "default-aaaaaaaa"

// live writes the life of a worker, which ends at the time that it returns.
func live(t *testing.T, book *ledger.Ledger, began time.Time) (gone time.Time) {
	at := began
	for _, e := range []struct {
		after time.Duration
		event ledger.Event
	}{
		{0, ledger.Event{Kind: ledger.Promised}},
		{0, ledger.Event{Kind: ledger.Entered, Phase: "wait_budget"}},
		{0, ledger.Event{Kind: ledger.Waits, Reason: "no memory"}},
		{2 * time.Second, ledger.Event{Kind: ledger.Entered, Phase: "start"}},
		{time.Second, ledger.Event{Kind: ledger.Passed, Phase: "start.disk"}},
		{time.Second, ledger.Event{Kind: ledger.Ready, Phase: "run", How: "fork", Image: "digest"}},
		{time.Second, ledger.Event{Kind: ledger.Worked, Job: &ledger.Job{ID: 7, Name: "test", Project: "a/b"}}},
		{5 * time.Second, ledger.Event{Kind: ledger.Failed, Phase: "teardown", Reason: "it crashed"}},
		{0, ledger.Event{Kind: ledger.Used, Usage: &ledger.Usage{CPUSeconds: 1.5}}},
		{time.Second, ledger.Event{Kind: ledger.Gone}},
	} {
		at = at.Add(e.after)
		e.event.Worker, e.event.At = worker, at
		require.NoError(t, book.Write(e.event))
	}
	return at
}

func TestAWorkerIsOneTrace(t *testing.T) {
	r := newReceiver(t)
	c, book := pool(t, r.URL)
	end := run(c, io.Discard)
	began := time.Now().Truncate(time.Microsecond)
	gone := live(t, book, began)
	end() // which sends what there is

	spans := r.received()
	require.Len(t, spans, 7)
	life := spans["worker"]
	assert.Empty(t, life.ParentSpanId)
	assert.Equal(t, uint64(began.UnixNano()), life.StartTimeUnixNano)
	assert.Equal(t, uint64(gone.UnixNano()), life.EndTimeUnixNano)
	assert.Equal(t, otlp.Status_STATUS_CODE_ERROR, life.Status.Code)
	assert.Equal(t, "it crashed", life.Status.Message)
	for name, took := range map[string]time.Duration{
		"wait_budget": 2 * time.Second, "start": 2 * time.Second, "run": 6 * time.Second, "teardown": time.Second,
		"job": 5 * time.Second,
	} {
		require.Contains(t, spans, name)
		span := spans[name]
		assert.Equal(t, life.TraceId, span.TraceId, name)
		assert.Equal(t, life.SpanId, span.ParentSpanId, name)
		assert.Equal(t, uint64(took), span.EndTimeUnixNano-span.StartTimeUnixNano, name)
	}
	assert.Equal(t, "mayfly", r.about["service.name"])
	assert.Equal(t, "default", r.about["mayfly.pool"])
}

// TestAWorkerHasOneTraceHoweverOftenItIsToldOf also by another process.
func TestAWorkerHasOneTraceHoweverOftenItIsToldOf(t *testing.T) {
	r := newReceiver(t)
	c, book := pool(t, r.URL)
	live(t, book, time.Now())
	for range 2 {
		run(c, io.Discard)()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	distinct := make(map[string]int)
	for _, span := range r.spans {
		distinct[fmt.Sprintf("%x/%x", span.TraceId, span.SpanId)]++
	}
	require.Len(t, distinct, 7)
	for id, times := range distinct {
		assert.Equal(t, 2, times, id)
	}
}

func TestAWorkerOfLongAgoIsNotToldOf(t *testing.T) {
	r := newReceiver(t)
	c, book := pool(t, r.URL)
	live(t, book, time.Now().Add(-time.Hour))
	run(c, io.Discard)()
	assert.Empty(t, r.received())
}

// TestADeadReceiverHoldsNothingUp neither one that takes a request and never answers, nor
// one that is not there.
func TestADeadReceiverHoldsNothingUp(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	require.NoError(t, err)
	defer silent.Close()
	for _, endpoint := range []string{"http://" + silent.Addr().String(), "http://127.0.0.1:9"} {
		c, book := pool(t, endpoint)
		var log bytes.Buffer
		end := run(c, &log)
		live(t, book, time.Now())
		began := time.Now()
		end()
		assert.Less(t, time.Since(began), patience) // it gives up after farewell
		assert.Equal(t, 1, strings.Count(log.String(), "not sent"), log.String())
	}
}
