package store_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// Nobody waits for the other end of a pipe, nor reads a file that has no end.
func TestWhatIsNoDocumentOfThePoolIsNotRead(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"is a pipe":               func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"more than 1048576 bytes": func(path string) error { return os.WriteFile(path, make([]byte, 1<<20+1), 0o600) },
	} {
		s, dir := open(t)
		require.NoError(t, s.KeepEnd(store.Ended{ID: "p-aaaaaaaa"}, ""))
		for _, file := range []string{
			store.BreakerFile, store.ForksFile, store.TemplateTimeFile, store.ServedFile,
			store.EndedDir + "/p-bbbbbbbb.json",
		} {
			require.NoError(t, plant(filepath.Join(dir, file)))
		}
		_, _, err := s.Breaker()
		require.ErrorContains(t, err, name)
		_, _, err = s.Served()
		require.ErrorContains(t, err, name)
		_, err = s.LoadForks()
		require.ErrorContains(t, err, name)
		_, err = s.LoadTemplateTime()
		require.ErrorContains(t, err, name)
		ended, err := s.Ended()
		require.NoError(t, err)
		require.Len(t, ended, 1)
		require.NoError(t, s.SaveBreaker(store.Breaker{}))
		require.NoError(t, s.SaveServed(store.Served{}))
		require.NoError(t, s.SaveForks(store.Forks{}), "what is written takes its place")
		require.NoError(t, s.SaveTemplateTime(time.Second))
	}
}
