//go:build linux

package cloudhypervisor

import (
	"context"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
)

var _ backend.Metered = (*Backend)(nil)

// Memory looks at the host's processes. Pages of the template that no fork has
// written to are in the PSS of each fork by its share, and in Private only as
// long as there is a single fork.
func (b *Backend) Memory(context.Context) (map[string]backend.Memory, error) { return b.tag.Memory() }
