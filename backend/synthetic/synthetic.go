// Package synthetic is a backend without machines, for tests, load runs and
// demos: each worker is an SSH server in this process, on a port of its own on
// the loopback interface. The pool and the runner see no difference to another
// backend.
//
// It isolates nothing. A job's commands are run by this host's shell, as the user
// of this process, in the worker's directory, and killed with the worker. Never
// give it a job that you would not run yourself.
//
// Its machines and their jobs end with the process, so there are no orphans to
// find, and network, image and guest agent are not used.
package synthetic

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Options say how the backend behaves. The zero value starts at once and
// never fails.
type Options struct {
	// StartDelay is how long a start takes.
	StartDelay time.Duration
	// FailStart, when it is set, is asked at each start, after the delay; the
	// error that it returns fails the start.
	FailStart func(id string) error
	// Reserve has machines cost what they would if they were some.
	Reserve bool
}

// Backend is the synthetic backend.
type Backend struct {
	options Options

	mu       sync.Mutex
	machines map[string]*machine
}

var (
	_ backend.Backend = (*Backend)(nil)
	_ backend.Costed  = (*Backend)(nil)
)

// New makes a backend that has no machines yet.
func New(options Options) *Backend {
	return &Backend{options: options, machines: make(map[string]*machine)}
}

// Cost is nothing: jobs run in this process's own share of the host.
func (b *Backend) Cost(size backend.Size) backend.Size {
	if b.options.Reserve {
		return size
	}
	return backend.Size{}
}

// Check finds nothing missing, and says what the backend does not do.
func (b *Backend) Check(context.Context) []doctor.Finding {
	return []doctor.Finding{{
		Level:  doctor.Warning,
		What:   "isolation",
		Detail: "the synthetic backend runs jobs on this host, as the user of this process",
		Mend:   "choose another backend for anything but tests and demos",
	}}
}

// Build returns a golden image that has a name and nothing else.
func (b *Backend) Build(ctx context.Context, recipe image.Recipe, _ image.Progress) (image.Golden, error) {
	if err := ctx.Err(); err != nil {
		return image.Golden{}, fmt.Errorf("building a synthetic image: %w", err)
	}
	return image.Golden{Manifest: image.Manifest{
		Version: image.ManifestVersion,
		Digest:  recipe.Digest(),
		Recipe:  recipe,
		BuiltAt: time.Now(),
	}}, nil
}

// Start opens the worker's port.
func (b *Backend) Start(ctx context.Context, _ image.Golden, spec backend.Spec) (backend.Machine, error) {
	if err := b.delay(ctx); err != nil {
		return nil, fmt.Errorf("starting synthetic machine %s: %w", spec.ID, err)
	}
	if b.options.FailStart != nil {
		if err := b.options.FailStart(spec.ID); err != nil {
			return nil, fmt.Errorf("starting synthetic machine %s: %w", spec.ID, err)
		}
	}
	m, err := newMachine(spec)
	if err != nil {
		return nil, fmt.Errorf("starting synthetic machine %s: %w", spec.ID, err)
	}
	if err := b.add(m); err != nil {
		m.close()
		return nil, err
	}
	go m.serve()
	return m, nil
}

func (b *Backend) delay(ctx context.Context) error {
	timer := time.NewTimer(b.options.StartDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *Backend) add(m *machine) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.machines[m.id] != nil {
		return fmt.Errorf("synthetic machine %s exists already", m.id)
	}
	b.machines[m.id] = m
	return nil
}

// Find lists the machines that have not ended.
func (b *Backend) Find(context.Context) ([]backend.Machine, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []backend.Machine
	for _, m := range b.machines {
		if m.Err() == nil {
			found = append(found, m)
		}
	}
	return found, nil
}

// Destroy ends a machine with all that runs in it.
func (b *Backend) Destroy(ctx context.Context, id string) error {
	m := b.machine(id)
	if m == nil {
		return nil
	}
	m.end("destroyed")
	select {
	case <-m.Done():
	case <-ctx.Done():
		return fmt.Errorf("destroying synthetic machine %s: %w", id, context.Cause(ctx))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.machines, id)
	return nil
}

// Crash ends a machine as a fault of its own would end a real one. It does nothing
// when there is no such machine.
func (b *Backend) Crash(id string) {
	if m := b.machine(id); m != nil {
		m.end("crashed")
	}
}

func (b *Backend) machine(id string) *machine {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.machines[id]
}
