// Package need skips tests where a machine lacks what they need. On a laptop that
// is no failure; where CI is set to true it is, for there nobody would see that
// a test is skipped. Only tests, and helpers of tests, import it.
package need

import (
	"errors"
	"os"
	"strings"
	"testing"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// Programs skips a test that lacks one of the programs. A name that is not in the
// table of package programs fails it everywhere. With -short, what boots a
// machine or makes a system from packages is skipped, whatever is there.
func Programs(t testing.TB, names ...string) {
	t.Helper()
	var missing []error
	for _, name := range names {
		_, err := programs.Find(name)
		if errors.Is(err, programs.ErrNotListed) {
			t.Fatal(err)
		}
		missing = append(missing, err)
	}
	for _, name := range names {
		if testing.Short() && takesMinutes(name) {
			t.Skipf("-short leaves out what starts %s", name)
		}
	}
	if err := errors.Join(missing...); err != nil {
		Other(t, err.Error())
	}
}

// takesMinutes says whether a test that starts the program takes minutes where a
// machine is emulated and packages come over a network.
func takesMinutes(name string) bool {
	return strings.HasPrefix(name, "qemu-system-") || name == "mmdebstrap"
}

// Root skips a test that does not run as root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Other(t, "needs root")
	}
}

// Other skips a test that lacks something else.
func Other(t testing.TB, lacking string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(lacking)
	}
	t.Skip(lacking)
}
