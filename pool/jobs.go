package pool

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
)

// Doorkeeper is an Access that knows to which workers somebody is connected now.
type Doorkeeper interface {
	// Connected returns what tells, of an address, whether a connection to it is open. It
	// asks no worker.
	Connected() (func(addr netip.AddrPort) bool, error)
}

// How jobs are looked for: how often is looked who is connected to which worker, and how
// long the pauses are between two questions to one guest to which somebody is: they grow,
// since a job that is not seen soon hardly will be.
const (
	doorCheck         = time.Second
	firstJobPause     = time.Second
	lastJobPause      = 32 * time.Second
	jobLimit          = 5 * time.Second // an emulated guest is slow
	mostJobsAskedOnce = 8
)

// visit is what is known of a worker to which somebody is connected.
type visit struct {
	job   int64 // the last one that was seen
	next  time.Time
	pause backoff
}

// lookForJobs finds out which job is in which worker, on the guest's word, and tells the
// ledger. Nothing else depends on it. Only guests to which somebody is connected are
// asked, so that one that is idle, or asleep, costs nothing.
func (p *Pool) lookForJobs() {
	witness, ok := p.backend.(backend.Witness)
	door, knows := p.access.(Doorkeeper)
	if !ok || !knows || p.history.to == nil {
		return
	}
	visits := make(map[string]*visit)
	for sleep(p.growing, doorCheck) == nil {
		visited := p.visited(door)
		maps.DeleteFunc(visits, func(id string, _ *visit) bool { return !visited[id] })
		p.askForJobs(witness, visited, visits)
	}
}

// visited are the workers that run and to which somebody is connected.
func (p *Pool) visited(door Doorkeeper) map[string]bool {
	running := make(map[string]netip.AddrPort)
	p.mu.Lock()
	for id, w := range p.workers {
		if w.state == Running {
			running[id] = w.record.Address
		}
	}
	p.mu.Unlock()
	visited := make(map[string]bool)
	if len(running) == 0 {
		return visited
	}
	connected, err := door.Connected()
	if err != nil {
		p.log.Debug("who is connected to workers is not known", "err", err)
		return visited
	}
	for id, addr := range running {
		if connected(addr) {
			visited[id] = true
		}
	}
	return visited
}

// askForJobs asks the guests whose turn it is, several at once.
func (p *Pool) askForJobs(witness backend.Witness, visited map[string]bool, visits map[string]*visit) {
	now := time.Now()
	slots := make(chan struct{}, mostJobsAskedOnce)
	var asking sync.WaitGroup
	for id := range visited {
		v := visits[id]
		if v == nil {
			v = &visit{pause: backoff{first: firstJobPause, limit: lastJobPause}}
			visits[id] = v
		}
		if now.Before(v.next) {
			continue
		}
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			p.askForJob(witness, id, v)
		})
	}
	asking.Wait()
}

func (p *Pool) askForJob(witness backend.Witness, id string, v *visit) {
	ctx, cancel := context.WithTimeout(p.growing, jobLimit)
	defer cancel()
	job, seen, err := witness.Job(ctx, id)
	if err != nil {
		p.log.Debug("the guest does not say which job is in it", "worker", id, "err", err)
	}
	if seen && job.ID != v.job {
		v.job = job.ID
		p.history.tell(ledger.Event{
			Worker: id, Kind: ledger.Worked, Job: &ledger.Job{ID: job.ID, Project: job.Project, Name: job.Name},
		})
	}
	v.next = time.Now().Add(v.pause.grow())
}
