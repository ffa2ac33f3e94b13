package tracing

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
)

// teller makes a trace of a worker of a pool.
type teller struct {
	tracer trace.Tracer
	pool   string
}

// tell makes the spans of a worker that is gone: one of its whole life, and in it one for
// each phase, with its parts, and for each job.
func (t teller) tell(ctx context.Context, w ledger.Worker) {
	ctx = context.WithoutCancel(ctx) // spans are made at once; sending them has limits of its own
	ctx, life := t.span(ctx, w.ID, "worker", w.Began, lifeOf(w)...)
	if w.Failed {
		life.SetStatus(codes.Error, w.Reason)
	}
	for i, phase := range w.Spans {
		key := fmt.Sprint(w.ID, "/", i)
		inside, span := t.span(ctx, key, phase.Name, phase.Begin, text("mayfly.reason", phase.Reason)...)
		at := phase.Begin
		for _, part := range phase.Parts {
			_, one := t.span(inside, key+"/"+part.Name, phase.Name+"."+part.Name, at)
			at = at.Add(part.Took)
			one.End(trace.WithTimestamp(at))
		}
		span.End(trace.WithTimestamp(phase.End))
	}
	for i, job := range w.Jobs {
		end := w.EndedAt
		if i+1 < len(w.Jobs) {
			end = w.Jobs[i+1].At
		}
		_, span := t.span(ctx, fmt.Sprint(w.ID, "/job/", i), "job", job.At, jobOf(job.Job)...)
		span.End(trace.WithTimestamp(end))
	}
	life.End(trace.WithTimestamp(w.GoneAt))
}

// span begins a span. The caller ends it.
func (t teller) span(
	ctx context.Context, key, name string, begin time.Time, about ...attribute.KeyValue,
) (context.Context, trace.Span) {
	return t.tracer.Start(context.WithValue(ctx, keyOf{}, key), name,
		trace.WithTimestamp(begin), trace.WithAttributes(about...))
}

func lifeOf(w ledger.Worker) []attribute.KeyValue {
	about := append(text("mayfly.worker", w.ID), text("mayfly.how", w.How)...)
	about = append(about, text("mayfly.image", w.Image)...)
	about = append(about, text("mayfly.reason", w.Reason)...)
	if u := w.Usage; u != nil {
		about = append(about,
			attribute.Float64("mayfly.cpu_seconds", u.CPUSeconds), attribute.Int64("mayfly.peak_memory", u.PeakMemory),
			attribute.Int64("mayfly.bytes_in", u.BytesIn), attribute.Int64("mayfly.bytes_out", u.BytesOut),
			attribute.Int64("mayfly.disk_written", u.DiskWritten), attribute.Int64("mayfly.denied_packets", u.Denied))
	}
	return about
}

// jobOf is what the guest says of a job.
func jobOf(j ledger.Job) []attribute.KeyValue {
	about := append(text("mayfly.guest.job_name", j.Name), text("mayfly.guest.job_project", j.Project)...)
	return append(about, attribute.Int64("mayfly.guest.job_id", j.ID))
}

func text(key, value string) []attribute.KeyValue {
	if value == "" {
		return nil
	}
	return []attribute.KeyValue{attribute.String(key, value)}
}

// ids follow from what a span is of: a worker that is told of twice, by two processes, has
// one trace.
type ids struct{}

// keyOf is the key of the context's value that names the span.
type keyOf struct{}

// NewIDs returns those of a trace and of its first span.
func (i ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	return trace.TraceID(digestOf(ctx)[:16]), i.NewSpanID(ctx, trace.TraceID{})
}

// NewSpanID returns the id of a span.
func (ids) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	return trace.SpanID(digestOf(ctx)[16:24])
}

func digestOf(ctx context.Context) []byte {
	key, _ := ctx.Value(keyOf{}).(string)
	sum := sha256.Sum256([]byte(key))
	return sum[:]
}
