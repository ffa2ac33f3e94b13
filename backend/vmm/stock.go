//go:build linux

package vmm

import (
	"context"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Stockable says whether there is a template to fork from.
func (b *Backend) Stockable(ctx context.Context, golden image.Golden, size backend.Size) bool {
	accel, err := b.acceleration(ctx, golden.Kernel())
	if err != nil {
		return false
	}
	_, ok := b.template(golden, size, accel)
	return ok
}

// Stock makes a fork that is restored and does not run yet.
func (b *Backend) Stock(ctx context.Context, golden image.Golden, spec backend.Spec) error {
	accel, err := b.acceleration(ctx, golden.Kernel())
	if err != nil {
		return err
	}
	t, ok := b.template(golden, spec.Size, accel)
	if !ok {
		return fmt.Errorf("stocking %s: there is no template", spec.ID)
	}
	ctx, cancel := b.withForkLimit(ctx)
	defer cancel()
	m, err := b.restoreFork(ctx, t, golden, spec)
	if err != nil {
		return fmt.Errorf("stocking %s: %w", spec.ID, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stock[spec.ID] = stocked{m, t.Basis.Key()}
	return nil
}

// stocked is a fork that waits for its identity, and the template that it was
// made from.
type stocked struct {
	machine  *machine
	template string
}

// fromStock returns the worker's machine if it is in stock, and of this
// template. One that has ended meanwhile, or is of another template, is
// removed as if it had never been.
func (b *Backend) fromStock(ctx context.Context, t template.Template, id string) (*machine, error) {
	b.mu.Lock()
	s, ok := b.stock[id]
	delete(b.stock, id)
	b.mu.Unlock()
	if !ok {
		return nil, nil
	}
	if s.machine.process.Err() == nil && s.template == t.Basis.Key() {
		return s.machine, nil
	}
	return nil, b.undoFork(ctx, id, s.machine.dir)
}
