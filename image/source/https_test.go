package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// mirror serves one file, and does what mirrors do on bad days.
type mirror struct {
	content []byte
	etag    string
	cuts    int  // connections to cut in the middle
	stalls  int  // connections to leave hanging in the middle
	plain   bool // without support for ranges
	status  int
	ranges  []string // what was asked for
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.ranges = append(m.ranges, r.Header.Get("Range"))
	if m.status != 0 {
		w.WriteHeader(m.status)
		return
	}
	if m.etag != "" {
		w.Header().Set("ETag", m.etag)
	}
	if m.plain {
		r.Header.Del("Range")
	}
	to := &limited{ResponseWriter: w, left: -1}
	if m.cuts > 0 || m.stalls > 0 {
		to.left = len(m.content) / 3
	}
	http.ServeContent(to, r, "", time.Time{}, bytes.NewReader(m.content))
	if to.left != 0 {
		return
	}
	cut := m.cuts > 0
	if cut {
		m.cuts--
	} else {
		m.stalls-- // before the client can have all of it, and come back
	}
	w.(http.Flusher).Flush()
	if cut {
		panic(http.ErrAbortHandler)
	}
	<-r.Context().Done()
}

// limited passes on so many bytes and no more.
type limited struct {
	http.ResponseWriter
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left < 0 {
		return l.ResponseWriter.Write(p)
	}
	n, err := l.ResponseWriter.Write(p[:min(l.left, len(p))])
	l.left -= n
	if l.left == 0 && err == nil {
		err = io.ErrShortWrite
	}
	return n, err
}

// serve starts the mirror, and returns how to reach it.
func serve(t *testing.T, handler http.Handler) (HTTPS, image.Source) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	fetcher := HTTPS{Dir: filepath.Join(t.TempDir(), "downloads"), Client: server.Client(), Retry: time.Millisecond, Stall: time.Minute}
	return fetcher, image.Source{Kind: image.HTTPS, Location: server.URL + "/cloud.qcow2"}
}

func newContent() (content []byte, sum string) {
	content = make([]byte, 3<<20)
	random := rand.NewChaCha8([32]byte{})
	random.Read(content)
	digest := sha256.Sum256(content)
	return content, hex.EncodeToString(digest[:])
}

func quiet(string) {}

func requireContent(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "the file is not what the server has")
}

func TestDownloadIsKeptByItsDigest(t *testing.T) {
	content, sum := newContent()
	m := &mirror{content: content, etag: `"1"`}
	fetcher, from := serve(t, m)
	from.SHA256 = sum
	var said []string
	path, err := fetcher.Fetch(t.Context(), from, func(line string) { said = append(said, line) })
	require.NoError(t, err)
	requireContent(t, path, content)
	require.Equal(t, "100 % of 3.1 MB", said[len(said)-1])

	again, err := fetcher.Fetch(t.Context(), from, quiet)
	require.NoError(t, err)
	require.Equal(t, path, again)
	require.Len(t, m.ranges, 1, "downloaded twice")

	require.NoError(t, os.WriteFile(path, []byte("rotten"), 0o600))
	_, err = fetcher.Fetch(t.Context(), from, quiet)
	require.NoError(t, err)
	requireContent(t, path, content)
}

func TestDownloadGoesOnAfterACut(t *testing.T) {
	content, sum := newContent()
	for name, m := range map[string]*mirror{
		"cut":                    {cuts: 2, etag: `"1"`},
		"stalled":                {stalls: 1, etag: `"1"`},
		"digest in place of tag": {cuts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			m.content = content
			fetcher, from := serve(t, m)
			if m.stalls > 0 {
				fetcher.Stall = 2 * time.Second
			}
			from.SHA256 = sum
			path, err := fetcher.Fetch(t.Context(), from, quiet)
			require.NoError(t, err)
			requireContent(t, path, content)
			require.True(t, strings.HasPrefix(m.ranges[1], "bytes="), "began anew: %q", m.ranges)
		})
	}
}

// giveUp cancels a download that stalls after so many bytes, once they are there.
func giveUp(t *testing.T, fetcher HTTPS, from image.Source, bytes int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := fetcher.Fetch(ctx, from, quiet)
		ended <- err
	}()
	part := partial{path: filepath.Join(fetcher.Dir, fileName(from)+".part")}
	require.Eventually(t, func() bool { return part.size() == int64(bytes) }, time.Minute, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestDownloadGoesOnInALaterCall(t *testing.T) {
	content, _ := newContent()
	m := &mirror{content: content, etag: `"1"`, stalls: 1}
	fetcher, from := serve(t, m)
	giveUp(t, fetcher, from, len(content)/3)
	path, err := fetcher.Fetch(t.Context(), from, quiet)
	require.NoError(t, err)
	requireContent(t, path, content)
	require.NotEmpty(t, m.ranges[1])
}

func TestChangedFileBeginsAnew(t *testing.T) {
	old, _ := newContent()
	m := &mirror{content: old, etag: `"1"`, stalls: 1}
	fetcher, from := serve(t, m)
	giveUp(t, fetcher, from, len(old)/3)
	m.content, m.etag = []byte("a new and shorter file"), `"2"`
	path, err := fetcher.Fetch(t.Context(), from, quiet)
	require.NoError(t, err)
	requireContent(t, path, m.content)
}

func TestServerWithoutRanges(t *testing.T) {
	content, sum := newContent()
	m := &mirror{content: content, cuts: 2, plain: true}
	fetcher, from := serve(t, m)
	from.SHA256 = sum
	path, err := fetcher.Fetch(t.Context(), from, quiet)
	require.NoError(t, err)
	requireContent(t, path, content)
}

func TestServerThatAlwaysBeginsAnewIsGivenUp(t *testing.T) {
	content, sum := newContent()
	m := &mirror{content: content, cuts: 1000, plain: true}
	fetcher, from := serve(t, m)
	from.SHA256 = sum
	_, err := fetcher.Fetch(t.Context(), from, quiet)
	require.ErrorContains(t, err, "EOF")
	require.LessOrEqual(t, len(m.ranges), 2*attempts)
}

func TestWithoutRangesAndTagNothingIsPutTogether(t *testing.T) {
	content, _ := newContent()
	m := &mirror{content: content, cuts: 1}
	fetcher, from := serve(t, m)
	path, err := fetcher.Fetch(t.Context(), from, quiet)
	require.NoError(t, err)
	requireContent(t, path, content)
	require.Equal(t, []string{"", ""}, m.ranges)
}

func TestWrongDigestRemovesTheFile(t *testing.T) {
	content, sum := newContent()
	fetcher, from := serve(t, &mirror{content: content, etag: `"1"`})
	from.SHA256 = strings.Repeat("0", 64)
	_, err := fetcher.Fetch(t.Context(), from, quiet)
	require.ErrorContains(t, err, sum)
	require.ErrorContains(t, err, from.SHA256)
	requireNothingKept(t, fetcher)
}

func TestAnswersThatEndIt(t *testing.T) {
	m := &mirror{status: http.StatusNotFound}
	fetcher, from := serve(t, m)
	_, err := fetcher.Fetch(t.Context(), from, quiet)
	require.ErrorContains(t, err, "404 Not Found")
	require.ErrorContains(t, err, from.Location)
	require.Len(t, m.ranges, 1, "asked again for what is not there")
	requireNothingKept(t, fetcher)
}

func TestServerErrorsAreTriedAgain(t *testing.T) {
	m := &mirror{status: http.StatusServiceUnavailable}
	fetcher, from := serve(t, m)
	_, err := fetcher.Fetch(t.Context(), from, quiet)
	require.ErrorContains(t, err, "503")
	require.Len(t, m.ranges, attempts)
}

func TestRedirects(t *testing.T) {
	content, _ := newContent()
	m := &mirror{content: content}
	fetcher, from := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/there":
			m.ServeHTTP(w, r)
		case "/plain":
			http.Redirect(w, r, "http://"+r.Host+"/there", http.StatusFound)
		default:
			http.Redirect(w, r, "/there", http.StatusFound)
		}
	}))
	path, err := fetcher.Fetch(t.Context(), from, quiet)
	require.NoError(t, err)
	requireContent(t, path, content)

	from.Location = strings.Replace(from.Location, "/cloud.qcow2", "/plain", 1)
	_, err = fetcher.Fetch(t.Context(), from, quiet)
	require.ErrorContains(t, err, "not https")
}

func TestSecretsOfAURLAreNotShown(t *testing.T) {
	for name, server := range map[string]http.Handler{
		"found":   &mirror{content: []byte("image")},
		"missing": &mirror{status: http.StatusNotFound},
		"redirected": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://us:secret@"+r.Host+"/?token=secret", http.StatusFound)
		}),
		"cut": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
	} {
		fetcher, from := serve(t, server)
		from.Location = strings.Replace(from.Location, "https://", "https://us:secret@", 1) + "?signature=secret"
		var said []string
		for range 2 { // the second finds what the first has downloaded
			_, err := fetcher.Fetch(t.Context(), from, func(line string) { said = append(said, line) })
			said = append(said, fmt.Sprint(err))
		}
		require.NotContains(t, strings.Join(said, "\n"), "secret", name)
	}
}

func TestOnlyHTTPSIsTaken(t *testing.T) {
	for _, location := range []string{"http://example.com/a", "/etc/passwd", "file:///etc/passwd", "https://", "%"} {
		_, err := HTTPS{Dir: t.TempDir()}.Fetch(t.Context(), image.Source{Location: location}, quiet)
		require.Error(t, err, location)
	}
}

func TestProgressSpeaksOnceASecond(t *testing.T) {
	now := time.Unix(1000, 0)
	var said []string
	p := &progress{output: func(s string) { said = append(said, s) }, total: 50e6, now: func() time.Time { return now }}
	for range 50 {
		_, err := p.Write(make([]byte, 1e6))
		require.NoError(t, err)
		now = now.Add(100 * time.Millisecond)
	}
	require.Equal(t, []string{"2 % of 50.0 MB", "22 % of 50.0 MB", "42 % of 50.0 MB", "62 % of 50.0 MB", "82 % of 50.0 MB", "100 % of 50.0 MB"}, said)
}

func requireNothingKept(t *testing.T, fetcher HTTPS) {
	t.Helper()
	left, err := os.ReadDir(fetcher.Dir)
	require.NoError(t, err)
	for _, entry := range left {
		require.Equal(t, ".lock", filepath.Ext(entry.Name()))
	}
}

// A server may say how much it sends, or say nothing and never end.
func TestFilesThatAreTooLargeAreRefused(t *testing.T) {
	content, _ := newContent()
	fetcher, from := serve(t, &mirror{content: content, etag: `"1"`})
	fetcher.Limit = int64(len(content))
	path, err := fetcher.Fetch(t.Context(), from, quiet)
	require.NoError(t, err)
	requireContent(t, path, content)

	endless := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(content); err != nil {
				return
			}
		}
	})
	for name, handler := range map[string]http.Handler{"said": &mirror{content: content}, "endless": endless} {
		t.Run(name, func(t *testing.T) {
			fetcher, from := serve(t, handler)
			fetcher.Limit = int64(len(content)) - 1
			_, err := fetcher.Fetch(t.Context(), from, quiet)
			require.ErrorContains(t, err, "more than the 3.1 MB that an image for machine.disk can have")
			left, err := filepath.Glob(filepath.Join(fetcher.Dir, "*.part*"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

// Nothing is written to where a link among the downloads leads.
func TestLinksAmongDownloadsAreNotFollowed(t *testing.T) {
	content, _ := newContent()
	for _, ending := range []string{".part", ".part.etag", ".lock"} {
		t.Run(ending, func(t *testing.T) {
			fetcher, from := serve(t, &mirror{content: content, etag: `"1"`})
			elsewhere := filepath.Join(t.TempDir(), "elsewhere")
			require.NoError(t, os.MkdirAll(fetcher.Dir, 0o700))
			require.NoError(t, os.Symlink(elsewhere, filepath.Join(fetcher.Dir, fileName(from)+ending)))
			_, err := fetcher.Fetch(t.Context(), from, quiet)
			require.Error(t, err)
			require.NoFileExists(t, elsewhere)
		})
	}
}
