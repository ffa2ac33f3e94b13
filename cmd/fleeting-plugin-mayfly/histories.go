package main

import (
	"fmt"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// poolLedger is the directory of a pool's ledger, which need not be there.
type poolLedger struct{ pool, dir string }

// ledgers are those of all pools.
func ledgers(h *host.Host, c config.Config) (all []poolLedger, err error) {
	names, err := h.PoolNames(c)
	for _, name := range names {
		c.Pool = name
		all = append(all, poolLedger{name, filepath.Join(c.PoolDir(), ledger.Dir)})
	}
	return all, err
}

// histories puts together what a ledger has since a time.
func (l poolLedger) histories(since time.Time) (*ledger.Histories, error) {
	var histories ledger.Histories
	for event, err := range ledger.Read(l.dir, since) {
		if err != nil {
			return nil, fmt.Errorf("pool %s: %w", l.pool, err)
		}
		histories.Add(event)
	}
	return &histories, nil
}

// consoleLines is how many last lines of a console are shown, out of so many last bytes.
const (
	consoleLines = 10
	consoleBytes = 8 << 10
)

// consoleTail are the last lines of a worker's console, fit to be printed: of its machine,
// or those that were kept when it ended. There may be none.
func consoleTail(s *streams, h *host.Host, c config.Config, records *store.Store, id string) []string {
	path, err := h.ConsolePath(c, records.Dir(id), s.log)
	if err != nil {
		s.log.Warn("the console is not known", "worker", id, "err", err)
	}
	if ended, ok := endOf(records, id); ok && path == "" {
		path = ended.Console
	}
	if path == "" {
		return nil
	}
	said, err := lines.End(path, consoleBytes)
	if err != nil {
		s.log.Warn("the console cannot be read", "worker", id, "err", err)
	}
	return said[max(0, len(said)-consoleLines):]
}

// endOf is what is kept of a worker that ended unasked.
func endOf(records *store.Store, id string) (store.Ended, bool) {
	kept, err := records.Ended()
	if err != nil {
		return store.Ended{}, false // the ledger has the reason too
	}
	for _, ended := range kept {
		if ended.ID == id {
			return ended, true
		}
	}
	return store.Ended{}, false
}
