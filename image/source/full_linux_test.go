package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func TestDownloadThatFillsTheDiskIsRemovedAndNotTriedAgain(t *testing.T) {
	d := sandbox.NewDisk(t, 32<<20)
	content, sum := newContent()
	m := &mirror{content: content}
	fetcher, from := serve(t, m)
	fetcher.Dir, from.SHA256 = filepath.Join(d.Dir, "downloads"), sum
	d.Fill(1 << 20)
	before := d.Free()
	_, err := fetcher.Fetch(t.Context(), from, quiet)
	require.ErrorContains(t, err, "the file system of "+fetcher.Dir+" is full")
	require.Len(t, m.ranges, 1)
	require.InDelta(t, before, d.Free(), 64<<10)

	d.Empty()
	path, err := fetcher.Fetch(t.Context(), from, quiet)
	require.NoError(t, err)
	requireContent(t, path, content)
}

// whats are the names of what may be removed.
func whats(t *testing.T, list func() ([]diskspace.Leftover, error)) (whats []string) {
	t.Helper()
	found, err := list()
	require.NoError(t, err)
	for _, l := range found {
		whats = append(whats, l.What)
	}
	return whats
}

func TestDownloadsThatNobodyUsesMayGo(t *testing.T) {
	h := HTTPS{Dir: t.TempDir()}
	require.Empty(t, whats(t, HTTPS{Dir: filepath.Join(h.Dir, "missing")}.Unfinished))
	long := time.Now().Add(-2 * rest)
	names := "sha256-a sha256-b.part sha256-b.part.etag sha256-c.part url-d url-e sha256-f else"
	for _, name := range strings.Fields(names) {
		path := filepath.Join(h.Dir, name)
		require.NoError(t, os.WriteFile(path, []byte("content"), 0o600))
		require.NoError(t, os.Chtimes(path, long, long))
	}
	require.NoError(t, touch(filepath.Join(h.Dir, "url-e")))
	require.NoError(t, touch(filepath.Join(h.Dir, "sha256-f")))
	lock, err := filelock.TryAcquire(filepath.Join(h.Dir, "sha256-c.lock"))
	require.NoError(t, err)
	require.Equal(t,
		[]string{"unfinished download sha256-b.part", "download of unknown digest url-d"}, whats(t, h.Unfinished))
	require.Equal(t, []string{"download sha256-a"}, whats(t, h.Finished))

	found, err := h.Unfinished()
	require.NoError(t, err)
	require.NoError(t, touch(filepath.Join(h.Dir, "url-d")), "a build asks for it again")
	for _, l := range found {
		removed, err := l.Remove()
		require.NoError(t, err)
		require.Equal(t, l.What == "unfinished download sha256-b.part", removed, l.What)
	}
	require.NoFileExists(t, filepath.Join(h.Dir, "sha256-b.part"))
	require.NoFileExists(t, filepath.Join(h.Dir, "sha256-b.part.etag"))
	require.FileExists(t, filepath.Join(h.Dir, "url-d"))
	require.NoError(t, lock.Release())
	require.Contains(t, whats(t, h.Unfinished), "unfinished download sha256-c.part", "nobody goes on with it now")
}
