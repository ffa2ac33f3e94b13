package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTheLastEndsAreKept also has files that say nothing, and a console that is long.
func TestTheLastEndsAreKept(t *testing.T) {
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	ended, err := s.Ended()
	require.NoError(t, err)
	require.Empty(t, ended)

	console := filepath.Join(t.TempDir(), "console.log")
	require.NoError(t, os.WriteFile(console, []byte(strings.Repeat("a line of a long console\n", 100_000)), 0o600))
	began := time.Now()
	for n := range EndedKept + 5 {
		id := fmt.Sprintf("p-aaaaaaa%c", 'a'+n)
		end := Ended{ID: id, Reason: "r", EndedAt: began.Add(time.Duration(n) * time.Second)}
		require.NoError(t, s.KeepEnd(end, console))
	}
	dir := filepath.Join(s.dir, EndedDir)
	for name, text := range map[string]string{
		"broken.json": "{", "newer.json": `{"version": 2, "id": "newer"}`, "other.json": `{"version": 1, "id": "another"}`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	ended, err = s.Ended()
	require.NoError(t, err)
	require.Len(t, ended, EndedKept)
	require.Equal(t, "p-aaaaaaaf", ended[0].ID)
	info, err := os.Stat(ended[0].Console)
	require.NoError(t, err)
	require.LessOrEqual(t, info.Size(), int64(consoleKept))
	require.Positive(t, info.Size())
	consoles, err := filepath.Glob(filepath.Join(dir, "*"+consoleSuffix))
	require.NoError(t, err)
	require.Len(t, consoles, EndedKept)

	// What was cut off is of nobody, and would be there for ever.
	for _, name := range []string{"p-66666666.console", "p-77777777.json"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o600))
	}
	require.ErrorContains(t, s.KeepEnd(Ended{ID: "../out"}, ""), "not a valid worker id")
	require.NoError(t, s.KeepEnd(Ended{ID: "p-bbbbbbbb", EndedAt: time.Now()}, filepath.Join(t.TempDir(), "none")))
	require.NoFileExists(t, filepath.Join(dir, "p-66666666.console"))
	require.NoFileExists(t, filepath.Join(dir, "p-77777777.json"))
	require.FileExists(t, filepath.Join(dir, "broken.json"), "its name is nobody's")
}

func TestABreakerIsReadAsItWasWritten(t *testing.T) {
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	_, open, err := s.Breaker()
	require.NoError(t, err)
	require.False(t, open)
	saved := Breaker{ImageDigest: "d", Failures: 7, Reason: "r", Since: time.Now().UTC(), NextTry: time.Now().UTC()}
	require.NoError(t, s.SaveBreaker(saved))
	read, open, err := s.Breaker()
	require.NoError(t, err)
	require.True(t, open)
	require.Equal(t, saved.String(), read.String())
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, BreakerFile), []byte(`{"version": 9}`), 0o600))
	_, _, err = s.Breaker()
	require.ErrorContains(t, err, "version is 9")
	require.NoError(t, s.ClearBreaker())
	require.NoError(t, s.ClearBreaker(), "again")
}
