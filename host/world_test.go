package host

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is how long a test waits for what should take moments, and may take much
// longer on a machine whose disk is busy: records are synced.
const soon = time.Minute

var silent = slog.New(slog.DiscardHandler)

// world is a host with a synthetic backend, and a state directory of its own.
type world struct {
	*Host
	t        *testing.T
	stateDir string
	assembly Assembly
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, stateDir: shortDir(t)}
	w.assembly = Assembly{
		Name: config.BackendSynthetic, Backend: synthetic.New(synthetic.Options{}),
		Network: network.None{}, Access: access.SSH{},
	}
	build := func(config.Config, *slog.Logger) (Assembly, error) { return w.assembly, nil }
	w.Host = &Host{
		Backends:      []Builder{{Name: config.BackendSynthetic, Build: build}},
		Images:        func(dir string) Images { return cache.New(dir) },
		AddressOwners: func(config.Config) ([]string, error) { return nil, nil },
		CanReflink:    func(string) bool { return false },
	}
	return w
}

// running is how many workers of a pool run.
func running(p *Pool) (n int) {
	for _, worker := range p.Workers() {
		if worker.State == pool.Running {
			n++
		}
	}
	return n
}

// shortDir is a directory whose path leaves room for those of sockets, which
// that of t.TempDir, with the test's name in it, does not.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "mayfly-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func (w *world) config() config.Config {
	c, err := config.Default().With(func(c *config.Config) {
		c.Backend, c.StateDir = config.BackendSynthetic, w.stateDir
	})
	require.NoError(w.t, err)
	return c
}

// leave makes what a killed plugin process leaves of a worker.
func (w *world) leave(pool, worker string) string {
	dir := filepath.Join(w.stateDir, "pools", pool, "workers", worker)
	require.NoError(w.t, os.MkdirAll(dir, 0o700))
	return dir
}
