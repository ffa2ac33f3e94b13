//go:build !linux

package island

import (
	"fmt"
	"runtime"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Island exists on Linux only.
type Island struct{ network.None }

// New fails: network namespaces need Linux.
func New(Options) (*Island, error) {
	return nil, fmt.Errorf("workers' networks are made of network namespaces and need Linux: this is %s", runtime.GOOS)
}
