// Package tracing sends one trace for each worker of a pool, from its promise to the
// moment when nothing of it is left, to a receiver of OpenTelemetry's protocol (OTLP). It
// reads the pool's ledger: no worker waits for it, and a receiver that does not answer
// costs the traces and nothing else. Which spans a worker has is in spans.go.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

const (
	// pause is how often the ledger is looked at.
	pause = time.Second
	// history is how far back the ledger is read, for workers that began before.
	history = 24 * time.Hour
	// before is how long before now a worker may have gone to be told of nevertheless: the
	// pool has removed what an earlier process left, just now.
	before = time.Minute
	// Bounds of one request, and of what is still sent when the process ends.
	exportLimit = 10 * time.Second
	farewell    = time.Second
)

// Run sends traces until ctx ends.
func Run(ctx context.Context, _ *host.Host, c config.Config, log *slog.Logger) {
	if c.Tracing.Endpoint == "" {
		return
	}
	provider, err := newProvider(context.WithoutCancel(ctx), c, log)
	if err != nil {
		log.Error("no traces are sent", "err", err)
		return
	}
	follow(ctx, c, teller{provider.Tracer("gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe/tracing"), c.Pool}, log)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := provider.Shutdown(last); err != nil {
		log.Warn("the last traces were not sent", "err", err)
	}
}

// newProvider is what collects spans and sends them, some at a time. Where they are not
// taken off its hands, it drops them.
func newProvider(ctx context.Context, c config.Config, log *slog.Logger) (*sdktrace.TracerProvider, error) {
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(c.Tracing.Endpoint),
		otlptracehttp.WithTimeout(exportLimit), otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}))
	if err != nil {
		return nil, fmt.Errorf("making an exporter to %s: %w", c.Tracing.Endpoint, err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("finding this host's name: %w", err)
	}
	about := resource.NewWithAttributes(semconv.SchemaURL,
		semconv.ServiceName("mayfly"), semconv.HostName(hostname), attribute.String("mayfly.pool", c.Pool))
	return sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithIDGenerator(ids{}),
		sdktrace.WithBatcher(&logged{SpanExporter: exporter, log: log})), nil
}

// logged is an exporter whose errors are logged, once until it works again.
type logged struct {
	sdktrace.SpanExporter
	log     *slog.Logger
	failing bool // exports come one after the other
}

func (l *logged) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := l.SpanExporter.ExportSpans(ctx, spans)
	if err != nil && !l.failing {
		l.log.Warn("traces are not sent", "err", err)
	}
	if err == nil && l.failing {
		l.log.Info("traces are sent again")
	}
	l.failing = err != nil
	return nil // else the library would print it
}

// follow tells of each worker when it is gone, until ctx ends and the ledger has no more.
func follow(ctx context.Context, c config.Config, to teller, log *slog.Logger) {
	began := time.Now()
	reader := ledger.NewReader(filepath.Join(c.PoolDir(), ledger.Dir), began.Add(-history))
	var told ledger.Histories
	read := func() {
		for {
			events, err := reader.Next()
			if err != nil {
				log.Warn("the ledger cannot be read for traces", "err", err)
			}
			if len(events) == 0 {
				return
			}
			for _, event := range events {
				told.Add(event)
				if event.Kind != ledger.Gone {
					continue
				}
				if worker, known := told.Worker(event.Worker); known && began.Sub(event.At) < before {
					to.tell(ctx, worker)
				}
				told.Forget(event.Worker)
			}
		}
	}
	for ticks := time.NewTicker(pause); ; {
		read()
		select {
		case <-ctx.Done():
			ticks.Stop()
			read()
			return
		case <-ticks.C:
		}
	}
}
