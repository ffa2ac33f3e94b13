package main

import (
	"cmp"
	"fmt"
	"text/tabwriter"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// endedWorker is what ps says of one worker that ended unasked.
type endedWorker struct {
	ID          string    `json:"id"`
	Pool        string    `json:"pool"`
	Reason      string    `json:"reason"`
	How         string    `json:"how,omitempty"`
	ImageDigest string    `json:"image_digest,omitempty"`
	CreatedAt   time.Time `json:"created_at,omitzero"`
	ReadyAt     time.Time `json:"ready_at,omitzero"`
	EndedAt     time.Time `json:"ended_at"`
	// Console is the path of a file with the end of its console, fit to be printed;
	// empty when it had none.
	Console string `json:"console,omitempty"`
}

// listEnded is what is kept of workers that ended unasked, of every pool, the last
// one last within its pool.
func listEnded(h *host.Host, c config.Config) ([]endedWorker, error) {
	ended := []endedWorker{}
	err := eachStore(h, c, func(pool string, records *store.Store) error {
		kept, err := records.Ended()
		for _, e := range kept {
			ended = append(ended, endedWorker{
				ID: e.ID, Pool: pool, Reason: e.Reason, How: e.How, ImageDigest: e.ImageDigest,
				CreatedAt: e.CreatedAt, ReadyAt: e.ReadyAt, EndedAt: e.EndedAt, Console: e.Console,
			})
		}
		return err
	})
	return ended, err
}

// eachStore visits the directory of every pool, without making any.
func eachStore(h *host.Host, c config.Config, visit func(pool string, records *store.Store) error) error {
	pools, err := h.PoolNames(c)
	if err != nil {
		return err
	}
	for _, name := range pools {
		c.Pool = name
		records, err := store.Look(c.PoolDir())
		if err != nil {
			return err
		}
		if err := visit(name, records); err != nil {
			return err
		}
	}
	return nil
}

func printEnded(s *streams, ended []endedWorker) error {
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WORKER\tENDED\tHOW\tRAN\tREASON\tCONSOLE")
	for _, w := range ended {
		ran := "-"
		if !w.ReadyAt.IsZero() {
			ran = w.EndedAt.Sub(w.ReadyAt).Round(time.Second).String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", w.ID, w.EndedAt.Local().Format(time.DateTime),
			cmp.Or(w.How, "-"), ran, firstLine(w.Reason), cmp.Or(w.Console, "-"))
	}
	return table.Flush()
}
