// Package registry runs a real registry, that of the distribution project, on a loopback
// address for tests, and counts what goes to it and comes from it. What it holds are
// files, which a test may change as a thief would.
package registry

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"             // logins
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // what it keeps
)

// Registry is a registry that runs until the test ends.
type Registry struct {
	// Host is its address, as references have it.
	Host string
	t    testing.TB
	dir  string
	app  http.Handler

	mu       sync.Mutex
	counts   Counts
	meddle   func(http.ResponseWriter, *http.Request) bool
	shutdown func()
}

// Counts are what has gone over the network.
type Counts struct {
	// Sent are the bytes that were sent to the registry, and Blobs how many blobs were
	// fetched from it.
	Sent  int64
	Blobs int
}

// Start starts a registry that speaks plain http.
func Start(t testing.TB) *Registry { return start(t, "", "", nil) }

// StartWithLogin starts one that wants a user's name and password.
func StartWithLogin(t testing.TB, user, password string) *Registry {
	return start(t, user, password, nil)
}

// StartEncrypted starts one that speaks https.
func StartEncrypted(t testing.TB, certificate tls.Certificate) *Registry {
	return start(t, "", "", &tls.Config{Certificates: []tls.Certificate{certificate}})
}

func start(t testing.TB, user, password string, encrypted *tls.Config) *Registry {
	t.Helper()
	logrus.SetOutput(io.Discard)
	r := &Registry{t: t, dir: t.TempDir()}
	config := &configuration.Configuration{Storage: configuration.Storage{
		"filesystem":  configuration.Parameters{"rootdirectory": r.dir},
		"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
	}}
	if user != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "htpasswd")
		require.NoError(t, os.WriteFile(file, []byte(user+":"+string(hash)+"\n"), 0o600))
		config.Auth = configuration.Auth{"htpasswd": {"realm": "test", "path": file}}
	}
	app := handlers.NewApp(t.Context(), config)
	r.app = app
	server := httptest.NewUnstartedServer(r)
	if encrypted != nil {
		server.TLS = encrypted
		server.StartTLS()
	} else {
		server.Start()
	}
	r.Host = server.Listener.Addr().String()
	r.shutdown = sync.OnceFunc(func() { server.CloseClientConnections(); server.Close(); _ = app.Shutdown() })
	t.Cleanup(r.shutdown)
	return r
}

// Stop has the registry give no answer any more.
func (r *Registry) Stop() { r.shutdown() }

// Meddle has a function see each request first; one for which it returns true goes no
// further. Nil ends that.
func (r *Registry) Meddle(with func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.meddle = with
}

// Counts returns what was counted since it was last called.
func (r *Registry) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := r.counts
	r.counts = Counts{}
	return counts
}

// ServeHTTP counts, and has the registry do the rest.
func (r *Registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	if request.Method == http.MethodGet && strings.Contains(request.URL.Path, "/blobs/") {
		r.counts.Blobs++
	}
	meddle := r.meddle
	r.mu.Unlock()
	request.Body = &counted{request.Body, r}
	if meddle != nil && meddle(w, request) {
		return
	}
	r.app.ServeHTTP(w, request)
}

type counted struct {
	io.ReadCloser
	registry *Registry
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.registry.mu.Lock()
	c.registry.counts.Sent += int64(n)
	c.registry.mu.Unlock()
	return n, err
}

// Blob is the path of the file with the content of this digest, a manifest among it.
func (r *Registry) Blob(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return filepath.Join(r.dir, "docker/registry/v2/blobs/sha256", hex[:2], hex, "data")
}
