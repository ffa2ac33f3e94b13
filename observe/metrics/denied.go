package metrics

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

var deniedPackets = metric{"mayfly_denied_packets_total",
	"Packets that the network's policy denied workers, also those that still run.", []string{"pool"}}

// denied counts the packets that workers were denied. The firewall's own counters are of
// one worker and go with it, so what each has counted up to now is remembered.
type denied struct {
	packets *prometheus.CounterVec

	mu sync.Mutex // guards all below
	// counted are those of each worker that lives.
	counted map[string]uint64
	// began says that workers were looked at: those from before count from then on.
	began bool
}

func newDenied(of prometheus.Labels) *denied {
	return &denied{
		packets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: deniedPackets.name, Help: deniedPackets.help, ConstLabels: of,
		}, deniedPackets.labels),
		counted: make(map[string]uint64),
	}
}

// counting are the states of workers whose packets are not counted in their ledger yet.
var counting = []pool.State{pool.Creating, pool.Running, pool.Canary}

// look counts what workers that live were denied since the last look.
func (d *denied) look(v observe.View) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range v.Alive() {
		if w.Denied == nil || !slices.Contains(counting, w.State) {
			continue
		}
		if d.began {
			d.add(w.Pool, w.ID, *w.Denied)
		}
		d.counted[w.ID] = *w.Denied
	}
	d.began = true
}

// happened counts what a worker was denied after the last look, when it is suspended or
// ends.
func (d *denied) happened(pool string, event ledger.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if event.Kind == ledger.Used && event.Usage != nil {
		d.add(pool, event.Worker, uint64(event.Usage.Denied))
		delete(d.counted, event.Worker)
	}
}

// add adds what is new of a worker's packets. The caller holds the mutex.
func (d *denied) add(pool, worker string, packets uint64) {
	if former := d.counted[worker]; packets > former {
		d.packets.WithLabelValues(pool).Add(float64(packets - former))
	}
}
