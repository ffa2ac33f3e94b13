package tart

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// found is a machine that this process did not start, running or not.
type found struct {
	tool  tool
	id    string
	watch sync.Once
	done  chan struct{}
}

var _ backend.Machine = (*found)(nil)

func (f *found) ID() string              { return f.id }
func (f *found) Address() netip.AddrPort { return netip.AddrPort{} }
func (f *found) How() string             { return backend.Clone }

// look is how often a machine that is not our child is looked at.
const look = 500 * time.Millisecond

func (f *found) Done() <-chan struct{} {
	f.watch.Do(func() {
		go func() {
			defer close(f.done)
			for f.Err() == nil {
				time.Sleep(look)
			}
		}()
	})
	return f.done
}

func (f *found) Err() error {
	pid, err := f.tool.pid(f.id)
	if err == nil && pid != 0 {
		return nil
	}
	return fmt.Errorf("%w: no process runs it", guest.ErrGone)
}

// Find asks Tart for its machines. Those of this pool have ids of its workers
// for names.
func (b *Backend) Find(ctx context.Context) ([]backend.Machine, error) {
	if _, err := os.Stat(b.tool.dir("")); os.IsNotExist(err) { // nothing was ever made
		return nil, nil
	}
	all, err := b.tool.list(ctx, "local")
	if err != nil {
		return nil, err
	}
	var machines []backend.Machine
	for _, l := range all {
		if _, ours := workerid.Key(b.options.Pool, l.Name); ours {
			machines = append(machines, &found{tool: b.tool, id: l.Name, done: make(chan struct{})})
		}
	}
	return machines, nil
}
