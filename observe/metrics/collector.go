// Package metrics shows what is known of a host's workers as Prometheus' metrics: what
// there is now (gauges.go), what has happened since the collector began (counts.go), and
// what packets were denied (denied.go). A metric is one entry in one of these tables.
//
// Where fleeting, GitLab Runner's library, has a metric of the same meaning, ours has its
// name, so that dashboards for it serve here too. The runner's own are of the runner that
// asks; ours are of the host, whoever asks.
package metrics

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
)

// metric is what all kinds of metrics have.
type metric struct {
	name, help string
	labels     []string
}

// scrapeLimit bounds how long a scrape looks.
const scrapeLimit = 10 * time.Second

// Collector counts events from the moment on that it is made, like a process that starts
// then, and reads all else from a view when it is scraped.
type Collector struct {
	look func(context.Context) (observe.View, error)

	gauges   []*prometheus.Desc
	counters []*prometheus.CounterVec   // by their place in counts; nil for a histogram
	times    []*prometheus.HistogramVec // by their place in counts; nil for a counter
	denied   *denied
	failed   prometheus.Counter
}

var (
	_ observe.Listener     = (*Collector)(nil)
	_ prometheus.Collector = (*Collector)(nil)
)

// New makes a collector of a host. What it is scraped for is what look returns; a watch
// that calls Happened does so while it looks.
func New(host string) *Collector {
	of := prometheus.Labels{"host": host}
	c := &Collector{
		counters: make([]*prometheus.CounterVec, len(counts)),
		times:    make([]*prometheus.HistogramVec, len(counts)),
		denied:   newDenied(of),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: failedScrapes.name, Help: failedScrapes.help, ConstLabels: of,
		}),
	}
	for _, g := range gauges {
		c.gauges = append(c.gauges, prometheus.NewDesc(g.name, g.help, g.labels, of))
	}
	for i, one := range counts {
		if one.buckets == nil {
			c.counters[i] = prometheus.NewCounterVec(prometheus.CounterOpts{
				Name: one.name, Help: one.help, ConstLabels: of,
			}, one.labels)
			continue
		}
		c.times[i] = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: one.name, Help: one.help, ConstLabels: of, Buckets: one.buckets,
		}, one.labels)
	}
	return c
}

var failedScrapes = metric{name: "mayfly_failed_scrapes_total", help: "Scrapes that could not look at the pools."}

// ReadFrom says what the collector looks with. It comes before the first scrape.
func (c *Collector) ReadFrom(look func(context.Context) (observe.View, error)) { c.look = look }

// Happened counts an event.
func (c *Collector) Happened(pool string, event ledger.Event, worker ledger.Worker) {
	h := happening{event, worker}
	for i, one := range counts {
		one.read(h, func(value float64, labels ...string) {
			labels = append([]string{pool}, labels...)
			if one.buckets == nil {
				c.counters[i].WithLabelValues(labels...).Add(value)
			} else {
				c.times[i].WithLabelValues(labels...).Observe(value)
			}
		})
	}
	c.denied.happened(pool, event)
}

// Describe tells of every metric.
func (c *Collector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, desc := range c.gauges {
		descriptions <- desc
	}
	for _, part := range c.parts() {
		part.Describe(descriptions)
	}
}

// Collect looks, which counts what has happened, and then tells everything. What could
// not be looked at leaves the gauges out.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	view, err := c.look(ctx)
	if err != nil {
		c.failed.Inc()
	} else {
		c.denied.look(view)
		for i, g := range gauges {
			g.read(view, func(value float64, labels ...string) {
				metrics <- prometheus.MustNewConstMetric(c.gauges[i], prometheus.GaugeValue, value, labels...)
			})
		}
	}
	for _, part := range c.parts() {
		part.Collect(metrics)
	}
}

// parts are those metrics that client_golang keeps.
func (c *Collector) parts() []prometheus.Collector {
	parts := []prometheus.Collector{c.denied.packets, c.failed}
	for i := range counts {
		if c.counters[i] != nil {
			parts = append(parts, c.counters[i])
		} else {
			parts = append(parts, c.times[i])
		}
	}
	return parts
}

// Registry has the collector's metrics alone: those of the Go runtime would be of one
// plugin process among several.
func Registry(c *Collector) (*prometheus.Registry, error) {
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return registry, nil
}
