package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTimeOfTheTemplateIsRememberedOrNothingIs(t *testing.T) {
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	_, err = s.LoadTemplateTime()
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, s.SaveTemplateTime(41500*time.Millisecond))
	took, err := s.LoadTemplateTime()
	require.NoError(t, err)
	require.Equal(t, 41500*time.Millisecond, took)

	file := filepath.Join(s.dir, TemplateTimeFile)
	for _, text := range []string{"", "{", "{}", `{"seconds":"x"}`, `{"seconds":-1}`, `{"seconds":1e99}`} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		took, err = s.LoadTemplateTime()
		require.ErrorContains(t, err, "reading how long the template took", text)
		require.Zero(t, took)
	}
}
