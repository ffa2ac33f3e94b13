package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// stateBuilding is the state of a directory in which an image is made.
const stateBuilding = "building"

type psCommand struct {
	configuration
	Ended bool `help:"List the last workers that ended unasked instead, with reasons and consoles."`
	Watch bool `help:"Print the list anew every two seconds, until interrupted."`
	JSON  bool `help:"Print one JSON document."`
}

// listedWorker is what ps says of one worker. It has no private key in it.
type listedWorker struct {
	ID           string  `json:"id"`
	Pool         string  `json:"pool"`
	State        string  `json:"state"`
	How          string  `json:"how,omitempty"`
	AgeSeconds   float64 `json:"age_seconds"`
	ReadySeconds float64 `json:"ready_seconds,omitempty"`
	Address      string  `json:"address,omitempty"`
	Reason       string  `json:"reason,omitempty"`
	// Phase is what it is in, and PhaseSeconds for how long, as its pool's ledger has it;
	// Console are the last lines of its console while it starts.
	Phase        string   `json:"phase,omitempty"`
	PhaseSeconds float64  `json:"phase_seconds,omitempty"`
	Console      []string `json:"console,omitempty"`
	// Job is what its guest says of the job that was seen in it last.
	Job *ledger.Job `json:"job,omitempty"`
	// HeldUntil is there for a worker that is held.
	HeldUntil time.Time `json:"held_until,omitzero"`
	// PSSBytes and PrivateBytes are what its processes take of the host's
	// memory; 0 where there are none, or the backend cannot tell.
	PSSBytes     int64 `json:"pss_bytes,omitempty"`
	PrivateBytes int64 `json:"private_bytes,omitempty"`
	// DeniedPackets is how many packets the network's policy has denied it; nil
	// where nothing counts them.
	DeniedPackets *uint64 `json:"denied_packets,omitempty"`
	// MissingRules says which firewall rules around it are gone; empty where all are
	// in place.
	MissingRules string `json:"missing_rules,omitempty"`
}

// Run lists the workers that have a directory, running or not, from outside the
// plugin processes that serve their pools.
func (c psCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, _, err := c.load()
	if err != nil {
		return err
	}
	if c.Watch {
		return repeat(ctx, s.out, func() error { return c.print(ctx, s, h, settings) })
	}
	return c.print(ctx, s, h, settings)
}

// print prints one list.
func (c psCommand) print(ctx context.Context, s *streams, h *host.Host, settings config.Config) error {
	if c.Ended {
		ended, err := listEnded(h, settings)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return s.document(ended)
		}
		return printEnded(s, ended)
	}
	workers, about, err := listWorkers(h, settings)
	if err != nil {
		return err
	}
	if err := addHistories(s, h, settings, workers); err != nil {
		return err
	}
	memory := func(c config.Config) (map[string]backend.Memory, error) { return h.Memory(ctx, c, s.log) }
	for i, memory := range eachPool(settings, s.log, "the memory of workers", workers, memory) {
		workers[i].PSSBytes, workers[i].PrivateBytes = memory.PSS, memory.Private
	}
	denied := func(c config.Config) (map[string]uint64, error) { return h.Denied(ctx, c, s.log) }
	for i, packets := range eachPool(settings, s.log, "what workers were denied", workers, denied) {
		workers[i].DeniedPackets = &packets
	}
	unguarded := func(c config.Config) (map[string]string, error) { return h.Unguarded(ctx, c, s.log) }
	for i, missing := range eachPool(settings, s.log, "whether workers have their rules", workers, unguarded) {
		if workers[i].State == string(pool.Running) { // others may not have them yet, or no more
			workers[i].MissingRules = missing
		}
	}
	if c.JSON {
		return s.document(workers)
	}
	if err := printWorkers(s, workers); err != nil {
		return err
	}
	for _, line := range about {
		fmt.Fprintln(s.out, line)
	}
	return nil
}

// listWorkers also has a line for each pool that spares its image, and for each that
// could not renew it; the workers that wait for an image that is spared have that for a
// reason.
func listWorkers(h *host.Host, c config.Config) (workers []listedWorker, about []string, err error) {
	workers = []listedWorker{}
	err = eachStore(h, c, func(name string, records *store.Store) error {
		ids, err := records.List()
		if err != nil {
			return err
		}
		why := ""
		switch breaker, open, err := records.Breaker(); {
		case err != nil: // which hides no worker
			about = append(about, fmt.Sprintf("pool %s: %v", name, err))
		case open:
			why = breaker.String()
			about = append(about, fmt.Sprintf("pool %s: %s", name, why))
		}
		switch served, known, err := records.Served(); {
		case err != nil:
			about = append(about, fmt.Sprintf("pool %s: %v", name, err))
		case known && served.Failed != nil:
			about = append(about, fmt.Sprintf("pool %s: image %s: %s", name, served.ImageDigest, served.Failed))
		}
		for _, id := range ids {
			if worker, ok := describeWorker(records, id); ok {
				worker.Pool = name
				if worker.State == string(pool.Creating) {
					worker.Reason = cmp.Or(why, worker.Reason)
				}
				workers = append(workers, worker)
			}
		}
		return nil
	})
	return workers, about, err
}

// eachPool asks once for every pool of the workers, and returns what is known by
// the worker's place in the list. What cannot be found out does not hide the
// list.
func eachPool[T any](c config.Config, log *slog.Logger, what string, workers []listedWorker,
	ask func(config.Config) (map[string]T, error)) map[int]T {
	pools := make(map[string]map[string]T)
	found := make(map[int]T)
	for i, w := range workers {
		of, asked := pools[w.Pool]
		if !asked {
			var err error
			c.Pool = w.Pool
			if of, err = ask(c); err != nil {
				log.Warn(what+" is not known", "pool", w.Pool, "error", err)
			}
			pools[w.Pool] = of
		}
		if value, ok := of[w.ID]; ok {
			found[i] = value
		}
	}
	return found
}

// describeWorker takes a directory without a record for what it is: empty, the
// intent of a worker; else, the machine of an image build, which keeps none. It
// returns false for one that has just gone.
func describeWorker(records *store.Store, id string) (listedWorker, bool) {
	worker := listedWorker{ID: id, State: string(pool.Creating)}
	record, err := records.Load(id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return describeUnrecorded(worker, records.Dir(id))
	case err != nil:
		worker.State, worker.Reason = "unknown", err.Error()
		return worker, true
	}
	worker.State, worker.How, worker.Reason = record.State, record.How, record.Reason
	worker.AgeSeconds = secondsBetween(record.CreatedAt, time.Now())
	if record.Held != nil && record.State == string(pool.Held) {
		worker.HeldUntil, worker.Reason = record.Held.Until, record.Held.Describe(time.Now())
	}
	if !record.ReadyAt.IsZero() {
		worker.ReadySeconds = readySeconds(record)
	}
	if record.Address.IsValid() {
		worker.Address = record.Address.String()
	}
	return worker, true
}

func describeUnrecorded(worker listedWorker, dir string) (listedWorker, bool) {
	info, err := os.Stat(dir)
	if err != nil {
		return listedWorker{}, false
	}
	worker.AgeSeconds = secondsBetween(info.ModTime(), time.Now())
	files, err := filepath.Glob(filepath.Join(dir, "[^.]*")) // a dot begins what is not written to its end
	if err == nil && len(files) > 0 {
		worker.State = stateBuilding
	}
	return worker, true
}

// readySeconds is how long the runner waited for a worker that it asked for.
func readySeconds(record store.Record) float64 {
	return secondsBetween(record.CreatedAt, record.ReadyAt)
}

// secondsBetween is 0 where the clock was set back in between.
func secondsBetween(began, ended time.Time) float64 { return max(0, ended.Sub(began).Seconds()) }

// remark is why a worker ends, or what it lacks, or what it is in while it is on its way.
func (w listedWorker) remark() string {
	if w.Phase != "" {
		return w.onItsWay()
	}
	if w.MissingRules != "" {
		return strings.TrimSpace("WITHOUT ITS RULES: " + w.MissingRules + " " + w.Reason)
	}
	return w.Reason
}

// firstLine leaves what follows it, such as the end of a console, to the JSON.
func firstLine(reason string) string {
	line, _, _ := strings.Cut(reason, "\n")
	return line
}

func printWorkers(s *streams, workers []listedWorker) error {
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WORKER\tSTATE\tHOW\tAGE\tREADY\tMEMORY\tDENIED\tADDRESS\tJOB\tREASON")
	for _, w := range workers {
		ready := "-"
		if w.ReadySeconds > 0 {
			ready = fmt.Sprintf("%.1fs", w.ReadySeconds)
		}
		memory := "-"
		if w.PSSBytes > 0 {
			memory = fmt.Sprintf("%dMiB", w.PSSBytes>>20)
		}
		denied := "-"
		if w.DeniedPackets != nil {
			denied = strconv.FormatUint(*w.DeniedPackets, 10)
		}
		job := "-"
		if w.Job != nil {
			job = strconv.FormatInt(w.Job.ID, 10)
		}
		age := time.Duration(w.AgeSeconds * float64(time.Second)).Round(time.Second)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			w.ID, w.State, cmp.Or(w.How, "-"), age, ready, memory, denied, cmp.Or(w.Address, "-"), job,
			firstLine(w.remark()))
	}
	return table.Flush()
}
