package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatIsServedIsReadAsItWasWritten(t *testing.T) {
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	_, known, err := s.Served()
	require.NoError(t, err)
	require.False(t, known)
	now := time.Now().UTC().Truncate(time.Second)
	saved := Served{Version: RecordVersion, ImageDigest: "d", Edition: "2026-11-29T04:00:00Z", Since: now,
		Failed: &FailedRenewal{
			Edition: "2026-11-30T04:00:00Z", Failures: 1, Reason: "no mirror", At: now, NextTry: now,
		}}
	require.NoError(t, s.SaveServed(saved))
	read, known, err := s.Served()
	require.NoError(t, err)
	require.True(t, known)
	require.Equal(t, saved, read)
	require.Equal(t,
		"it is served on, since making its edition of 2026-11-30T04:00:00Z failed once: no mirror; next try at "+
			now.Format(time.TimeOnly), read.Failed.String())
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, ServedFile), []byte(`{"version": 9}`), 0o600))
	_, _, err = s.Served()
	require.ErrorContains(t, err, "version is 9")
	require.NoError(t, s.ClearServed())
	require.NoError(t, s.ClearServed(), "again")
}
