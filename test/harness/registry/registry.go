//go:build linux

// Package registry runs a real registry, that of the distribution project, on a loopback
// address for tests, and counts what goes to it and comes from it. What it holds are
// files, which a test may read and change.
package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
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
	// Certificate is the path of the one that clients must trust, if it speaks https.
	Certificate string

	dir string
	app http.Handler

	server   *httptest.Server
	mu       sync.Mutex
	counts   Counts
	meddle   func(http.ResponseWriter, *http.Request) bool
	meddling sync.Mutex
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
func Start(t testing.TB) *Registry { return start(t, "", "", (*httptest.Server).Start) }

// StartAt starts one that speaks plain http at an address of the test's own network, for
// clients that take no port.
func StartAt(t testing.TB, address string) *Registry {
	return start(t, "", "", func(server *httptest.Server) {
		require.NoError(t, server.Listener.Close())
		var err error
		server.Listener, err = net.Listen("tcp", address)
		require.NoError(t, err)
		server.Start()
	})
}

// StartWithLogin starts one that wants a user's name and password.
func StartWithLogin(t testing.TB, user, password string) *Registry {
	return start(t, user, password, (*httptest.Server).Start)
}

// StartEncrypted starts one that speaks https.
func StartEncrypted(t testing.TB) *Registry {
	r := start(t, "", "", (*httptest.Server).StartTLS)
	r.Certificate = filepath.Join(t.TempDir(), "certificate.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.server.Certificate().Raw})
	require.NoError(t, os.WriteFile(r.Certificate, text, 0o600))
	return r
}

func start(t testing.TB, user, password string, listen func(*httptest.Server)) *Registry {
	t.Helper()
	logrus.SetOutput(io.Discard)
	r := &Registry{dir: t.TempDir()}
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
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that speak another protocol
	listen(server)
	r.server = server
	r.Host = server.Listener.Addr().String()
	r.shutdown = sync.OnceFunc(func() { server.CloseClientConnections(); server.Close(); _ = app.Shutdown() })
	t.Cleanup(r.shutdown)
	return r
}

// Stop has the registry give no answer any more.
func (r *Registry) Stop() { r.shutdown() }

// Meddle has a function see each request first, one after the other; one for which it
// returns true goes no further. Nil ends that.
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
	if meddle != nil && r.meddled(meddle, w, request) {
		return
	}
	r.app.ServeHTTP(w, request)
}

func (r *Registry) meddled(
	meddle func(http.ResponseWriter, *http.Request) bool, w http.ResponseWriter, request *http.Request,
) bool {
	r.meddling.Lock()
	defer r.meddling.Unlock()
	return meddle(w, request)
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

// Keys writes a new pair of keys that images are signed with, as cosign has them when
// there is no password, and returns the paths.
func Keys(t testing.TB) (private, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	shown, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	return write("cosign.key", "PRIVATE KEY", secret), write("cosign.pub", "PUBLIC KEY", shown)
}
