//go:build linux

package sandbox

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// EmptyNamespace moves a test into a network namespace of its own, where nothing
// is but a loopback device that is down. It is for packages that need no
// sandbox. Without root, or without a program, it does as Need does. The test's
// thread is never unlocked, so that it ends with the test.
func EmptyNamespace(t testing.TB, programs ...string) {
	t.Helper()
	need.Programs(t, programs...)
	need.Root(t)
	runtime.LockOSThread()
	require.NoError(t, unix.Unshare(unix.CLONE_NEWNET))
}
