package bootlog

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
)

// TestLongLogsBeginAnew also has a writer that goes on where it was.
func TestLongLogsBeginAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("flood of lines\n"), longest/15+1000), 0o600))
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer writer.Close()
	bound(path)
	require.Empty(t, LastLine(path))
	_, err = writer.WriteAt([]byte("after\nthe cut\n"), longest+(1<<20))
	require.NoError(t, err)
	bound(path)
	require.Equal(t, ": the cut", LastLine(path))
	require.Equal(t, "\nlast lines of the console:\n  after\n  the cut", lines.Tail(path))
}

func TestKernelFailures(t *testing.T) {
	for console, failure := range map[string]string{
		"":                           "",
		"login: root\nall is well\n": "",
		"[    9.1] sysrq: Trigger a crash\r\n[    9.2] Kernel panic - not syncing: sysrq triggered crash\r\n" +
			"[    9.3] CPU: 0 PID: 1 Comm: bash\n[    9.4] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\n": "kernel panic: sysrq triggered crash",
		"[ 1.0] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs ]---":                  "kernel panic: VFS: Unable to mount root fs",
		"[    3.1] BUG: kernel NULL pointer dereference, address: 0000\n[    3.2] Oops: 0002 [#1] SMP\n": "kernel oops: BUG: kernel NULL pointer dereference, address: 0000",
		"[    3.1] BUG: soft lockup\n[    3.2] Kernel panic - not syncing: Fatal exception\n":            "kernel panic: Fatal exception",
		"Kernel panic - not syncing: \x1b[31mred\x1b[0m\a\n":                                             `kernel panic: red\a`,
	} {
		path := filepath.Join(t.TempDir(), "console.log")
		require.NoError(t, os.WriteFile(path, []byte(console), 0o600))
		require.Equal(t, failure, KernelFailure(path).Words, console)
	}
	require.Empty(t, KernelFailure(filepath.Join(t.TempDir(), "none")))
}

// A stack follows a panic, which is longer than what is quoted.
func TestAPanicIsQuotedFromItsWordsOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	said := strings.Repeat("before\n", 50) + "Kernel panic - not syncing: x\n" + strings.Repeat("stack\n", 100)
	require.NoError(t, os.WriteFile(path, []byte(said), 0o600))
	failure := KernelFailure(path)
	require.True(t, failure.Panic)
	require.Equal(t, "\nthe console says:\n"+strings.Repeat("  before\n", quotedBefore)+
		"  Kernel panic - not syncing: x"+
		strings.Repeat("\n  stack", quoted-quotedBefore-1), failure.Quote)
}
