//go:build linux

package island

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDoComesBackFromWhatNeverReturns(t *testing.T) {
	requireHost(t)
	require.ErrorContains(t, Do(hostNamespace, func() error { runtime.Goexit(); return nil }), "in the midst")
	requireThreadsAtHome(t)
}
