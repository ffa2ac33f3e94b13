package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

const (
	// goneKept is how many workers of a pool are remembered of which nothing is left.
	goneKept = 200
	// history is how far back the ledgers are read at first.
	history = 24 * time.Hour
	// fresh is how long a view serves whoever looks: many who look cost no more than one.
	fresh = time.Second
	// settles is how long a worker's directory may be missing while its ledger says that
	// it lives: it is made after the promise, and removed before the end is written.
	settles = time.Minute
)

// Listener is told what happens while a watch lasts, once for each event.
type Listener interface {
	// Happened is told an event of a worker of the pool, and what the worker's events up to
	// this one tell together.
	Happened(pool string, event ledger.Event, worker ledger.Worker)
}

// Watch looks at all pools of a state directory, whichever process serves them. It reads
// what was added to their ledgers since it looked last. Its methods may be called
// concurrently.
type Watch struct {
	host     *host.Host
	config   config.Config
	log      *slog.Logger
	listener Listener

	mu    sync.Mutex // guards all below, and lets one look at a time
	pools map[string]*watched
	last  View
}

// watched is what a watch remembers of a pool.
type watched struct {
	reader    *ledger.Reader
	histories ledger.Histories
	// caughtUp says that what was in the ledger when the watch began has been read.
	caughtUp bool
	gone     []ledger.Worker // the one that went last is last
}

// NewWatch begins to watch when it looks first. The listener may be nil.
func NewWatch(h *host.Host, c config.Config, log *slog.Logger, listener Listener) *Watch {
	return &Watch{host: h, config: c, log: log, listener: listener, pools: make(map[string]*watched)}
}

// Look returns what is known now, or was known a second ago. What cannot be found out of
// one pool does not hide the others.
func (w *Watch) Look(ctx context.Context) (View, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.last.At) < fresh {
		return w.last, nil
	}
	view, err := w.look(ctx)
	if err == nil {
		w.last = view
	}
	return view, err
}

func (w *Watch) look(ctx context.Context) (View, error) {
	names, err := w.host.PoolNames(w.config)
	if err != nil {
		return View{}, err
	}
	view := View{At: time.Now()}
	if view.Host, err = os.Hostname(); err != nil {
		return View{}, fmt.Errorf("finding this host's name: %w", err)
	}
	share, err := w.host.Share(w.config)
	if err != nil {
		return View{}, err
	}
	view.Share = shareOf(share)
	room, err := diskspace.Of(w.config.StateDir)
	if err != nil {
		return View{}, err
	}
	view.Disk = Disk{Total: room.Size, Free: room.Free}
	for _, name := range names {
		view.Pools = append(view.Pools, w.lookAtPool(ctx, name, view.At))
	}
	view.Problems = problemsOf(view)
	return view, nil
}

func shareOf(s host.Share) Share {
	share := Share{Memory: s.Limits.Memory, CPUs: s.Limits.CPUs, Closed: s.Closed}
	for _, cost := range s.Held {
		share.HeldMemory += cost.Memory
		share.HeldCPUs += cost.CPUs
		share.HeldDisk += cost.Disk
	}
	return share
}

func (w *Watch) lookAtPool(ctx context.Context, name string, now time.Time) Pool {
	c := w.config
	c.Pool = name
	p := Pool{Name: name}
	unknown := func(what string, err error) {
		if err != nil {
			p.Unknown = append(p.Unknown, fmt.Sprintf("%s: %v", what, err))
		}
	}
	records, err := store.Look(c.PoolDir())
	if err != nil {
		unknown("its directory", err)
		return p
	}
	of := w.watched(c, now)
	unknown("its ledger", w.read(name, of))
	ids, err := records.List()
	unknown("its workers", err)
	p.Workers, p.Gone = of.workers(name, ids, now), named(name, of.gone)
	w.addHostsWord(ctx, c, &p, unknown)

	opened, _, err := records.Opened()
	unknown("what opened it", err)
	p.Backend, p.MaxWorkers = opened.Backend, opened.MaxWorkers
	spared, open, err := records.Breaker()
	unknown("whether its image is spared", err)
	if open {
		p.Spared = &spared
	}
	p.Ended, err = records.Ended()
	unknown("its workers that ended", err)
	p.Image, err = w.image(c, records, p)
	unknown("its image", err)
	return p
}

// watched is what is remembered of a pool; a new one is read from some time ago.
func (w *Watch) watched(c config.Config, now time.Time) *watched {
	of, known := w.pools[c.Pool]
	if !known {
		of = &watched{reader: ledger.NewReader(filepath.Join(c.PoolDir(), ledger.Dir), now.Add(-history))}
		w.pools[c.Pool] = of
	}
	return of
}

// read takes in what was added to a pool's ledger.
func (w *Watch) read(name string, of *watched) error {
	for {
		events, err := of.reader.Next()
		if err != nil {
			return err
		}
		if len(events) == 0 {
			of.caughtUp = true
			return nil
		}
		for _, event := range events {
			w.take(name, of, event)
		}
	}
}

func (w *Watch) take(name string, of *watched, event ledger.Event) {
	of.histories.Add(event)
	worker, known := of.histories.Worker(event.Worker)
	if !known { // it is the pool's own
		return
	}
	if of.caughtUp && w.listener != nil {
		w.listener.Happened(name, event, worker)
	}
	if event.Kind == ledger.Gone {
		of.histories.Forget(event.Worker)
		of.gone = append(of.gone, worker)
		of.gone = of.gone[max(0, len(of.gone)-goneKept):]
	}
}

// workers are those that live by their ledger or have a directory. Where the two disagree
// for long, the directory is right: an event may have been lost.
func (of *watched) workers(name string, ids []string, now time.Time) (workers []Worker) {
	there := make(map[string]bool, len(ids))
	for _, id := range ids {
		there[id] = true
	}
	for _, lived := range of.histories.Workers() {
		if there[lived.ID] || now.Sub(lived.Began) < settles {
			worker := describe(name, lived)
			if _, lasts := lived.Phase(); lasts { // it may wait for what all wait for, such as the image
				worker.Spans[len(worker.Spans)-1].Reason = of.histories.Why(lived)
			}
			workers = append(workers, worker)
		}
		delete(there, lived.ID)
	}
	for id := range there { // of a ledger that is lost, or the machine of an image
		workers = append(workers, describe(name, ledger.Worker{ID: id}))
	}
	slices.SortFunc(workers, func(a, b Worker) int {
		return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.ID, b.ID))
	})
	return workers
}

func named(name string, all []ledger.Worker) (workers []Worker) {
	for _, one := range all {
		workers = append(workers, describe(name, one))
	}
	return workers
}

// describe copies what later events would change.
func describe(name string, w ledger.Worker) Worker {
	w.Spans = slices.Clone(w.Spans)
	for i := range w.Spans {
		w.Spans[i].Parts = slices.Clone(w.Spans[i].Parts)
	}
	return Worker{Worker: w, Pool: name, State: stateOf(w)}
}

// addHostsWord adds what the host knows of the workers.
func (w *Watch) addHostsWord(ctx context.Context, c config.Config, p *Pool, unknown func(string, error)) {
	denied, err := w.host.Denied(ctx, c, w.log)
	unknown("what its workers were denied", err)
	unguarded, err := w.host.Unguarded(ctx, c, w.log)
	unknown("whether its workers have their rules", err)
	for i, worker := range p.Workers {
		if packets, counted := denied[worker.ID]; counted {
			p.Workers[i].Denied = &packets
		}
		if worker.State == pool.Running { // others may not have them yet, or no more
			p.Workers[i].MissingRules = unguarded[worker.ID]
		}
	}
}

// image is the one that a pool says it serves, or else that of the worker that was ready
// last.
func (w *Watch) image(c config.Config, records *store.Store, p Pool) (Image, error) {
	served, known, err := records.Served()
	image := Image{Digest: served.ImageDigest, Failed: served.Failed, ServedSince: served.Since}
	if starts := p.Starts(); !known && len(starts) > 0 {
		image.Digest = starts[len(starts)-1].Image
	}
	if image.Digest == "" {
		return image, err
	}
	golden, found, failed := w.host.Images(c.ImagesDir()).Get(image.Digest)
	if found {
		image.Edition, image.BuiltAt = golden.Recipe.Edition, golden.BuiltAt
		for _, bytes := range golden.Files {
			image.Bytes += bytes
		}
	}
	return image, errors.Join(err, failed)
}

// Worker finds a worker by its id, also one that went long ago, with the events that its
// ledger has of it. It is false for one that no ledger knows.
func (w *Watch) Worker(ctx context.Context, id string) (Worker, []ledger.Event, bool, error) {
	view, err := w.Look(ctx)
	if err != nil {
		return Worker{}, nil, false, err
	}
	name, ok := view.poolOf(id)
	if !ok {
		return Worker{}, nil, false, nil
	}
	worker, there := view.find(id)
	w.mu.Lock() // one reads a whole ledger at a time
	defer w.mu.Unlock()
	c := w.config
	c.Pool = name
	var events []ledger.Event
	var told ledger.Histories
	for event, err := range ledger.Read(filepath.Join(c.PoolDir(), ledger.Dir), worker.Began) {
		if err != nil {
			return Worker{}, nil, false, err
		}
		if event.Worker == id {
			events = append(events, event)
			told.Add(event)
		}
	}
	if all := told.Workers(); !there && len(all) > 0 {
		worker, there = describe(name, all[0]), true
	}
	return worker, events, there, nil
}

// consoleShown bounds how much of the end of a console is shown, in bytes.
const consoleShown = 8 << 10

// Console is the end of what a worker's machine has said, as long as its directory is
// there, or what is kept of one that ended unasked. Its lines are fit to be printed.
func (w *Watch) Console(worker Worker) ([]string, error) {
	c := w.config
	c.Pool = worker.Pool
	records, err := store.Look(c.PoolDir())
	if err != nil {
		return nil, err
	}
	paths, err := w.host.Consoles(c, w.log, records.Dir(worker.ID))
	if err != nil {
		return nil, err
	}
	ended, err := records.Ended()
	if err != nil {
		return nil, err
	}
	for _, e := range ended {
		if e.ID == worker.ID && e.Console != "" {
			paths = append(paths, e.Console)
		}
	}
	for _, path := range paths {
		said, err := lines.End(path, consoleShown)
		if err != nil && !errors.Is(err, fs.ErrNotExist) || len(said) > 0 {
			return said, err
		}
	}
	return nil, nil
}
