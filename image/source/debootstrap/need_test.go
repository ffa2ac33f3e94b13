//go:build linux

package debootstrap

import (
	"os"
	"os/exec"
	"testing"
)

// need skips the test on a laptop that lacks the tool; in CI that is a failure.
func need(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs " + tool)
	}
	t.Skip("needs " + tool)
}
