//go:build linux

package qemu

import (
	"context"
	"errors"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
)

var _ backend.Metered = (*Backend)(nil)

// Memory looks at the host's processes. Pages of the template that no fork has
// written to are in the PSS of each fork by its share, and in Private only as
// long as there is a single fork.
func (b *Backend) Memory(context.Context) (map[string]backend.Memory, error) {
	running, err := b.processes(func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	used := make(map[string]backend.Memory)
	for _, f := range running {
		one, err := f.running.Memory()
		if errors.Is(err, process.ErrNotRunning) {
			continue
		}
		if err != nil {
			return nil, err
		}
		used[f.id] = used[f.id].Plus(one)
	}
	return used, nil
}
