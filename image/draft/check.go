//go:build linux

package draft

import (
	"context"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source/debootstrap"
)

// Check looks for what drafts that are made from packages need of this host.
func Check(ctx context.Context) []doctor.Finding {
	return append([]doctor.Finding{doctor.FindProgram("mmdebstrap")}, debootstrap.Maker{}.Check(ctx)...)
}
