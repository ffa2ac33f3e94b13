package provider

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting/plugin"
	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"
	"go.uber.org/goleak"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// TestMain finds goroutines that outlive their instance group. The connector's
// own and the scaling loop's end only when they wake up next.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("gitlab.com/gitlab-org/fleeting/fleeting/connector.(*sshClient).keepalive"),
		goleak.IgnoreAnyFunction("gitlab.com/gitlab-org/fleeting/taskscaler.(*taskscaler).start.func2"))
}

// soon is how long a test waits for what should take moments, and may take much
// longer on a machine whose disk is busy: records are synced.
const soon = time.Minute

// world is an instance group on synthetic workers, in a directory of its own.
type world struct {
	*InstanceGroup
	t        *testing.T
	stateDir string
	backend  *synthetic.Backend
	assembly host.Assembly // of which the backend is a part
}

func newWorld(t *testing.T, options synthetic.Options) *world {
	w := &world{t: t, stateDir: shortDir(t), backend: synthetic.New(options)}
	w.assembly = host.Assembly{Backend: w.backend, Network: network.None{}, Access: access.SSH{}}
	w.InstanceGroup = w.newGroup()
	return w
}

// shortDir is a directory whose path leaves room for those of sockets, which
// that of t.TempDir, with the test's name in it, does not.
func shortDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "mayfly-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// newGroup is what a new plugin process would have.
func (w *world) newGroup() *InstanceGroup {
	g := New(plugin.VersionInfo{Version: "1.2.3"}, hostWith(func() host.Assembly { return w.assembly }))
	g.lockWait = 200 * time.Millisecond
	w.configure(g, `"host": {"max_workers": 5}`)
	w.t.Cleanup(func() { require.NoError(w.t, g.Shutdown(context.Background())) })
	return g
}

// hostWith is a host that has nothing but one backend, and no images yet.
func hostWith(assembly func() host.Assembly) *host.Host {
	build := func(config.Config, *slog.Logger) (host.Assembly, error) { return assembly(), nil }
	return &host.Host{
		Backends: []host.Builder{{Name: config.BackendSynthetic, Build: build}},
		Images:   func(dir string) host.Images { return cache.New(dir) },
	}
}

func (w *world) configure(g *InstanceGroup, keys string) {
	text := `{"backend": "synthetic", "state_dir": "` + w.stateDir + `", ` + keys + `}`
	require.NoError(w.t, json.Unmarshal([]byte(text), g))
}

func (w *world) init(g *InstanceGroup) (fleetingprovider.ProviderInfo, error) {
	return g.Init(w.t.Context(), nullLogger, fleetingprovider.Settings{})
}

// start is Init as the runner calls it: its context ends with it.
func (w *world) start() fleetingprovider.ProviderInfo {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	info, err := w.Init(ctx, nullLogger, fleetingprovider.Settings{})
	require.NoError(w.t, err)
	return info
}

// update is one call of Update.
func (w *world) update() map[string]fleetingprovider.State {
	w.t.Helper()
	seen := make(map[string]fleetingprovider.State)
	require.NoError(w.t, w.Update(w.t.Context(), func(id string, state fleetingprovider.State) { seen[id] = state }))
	return seen
}

// await updates until the states fit, as the runner does.
func (w *world) await(
	what string, fits func(map[string]fleetingprovider.State) bool,
) map[string]fleetingprovider.State {
	w.t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(5 * time.Millisecond) {
		seen := w.update()
		if fits(seen) {
			return seen
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("waited %s for %s, last seen %v", soon, what, seen)
		}
	}
}

// grow increases by n and returns the ids once they all run.
func (w *world) grow(n int) []string {
	w.t.Helper()
	granted, err := w.Increase(w.t.Context(), n)
	require.NoError(w.t, err)
	require.Equal(w.t, n, granted)
	seen := w.await("running workers", func(seen map[string]fleetingprovider.State) bool {
		return len(seen) == n && count(seen, fleetingprovider.StateRunning) == n
	})
	ids := make([]string, 0, n)
	for id := range seen {
		ids = append(ids, id)
	}
	return ids
}

func count(seen map[string]fleetingprovider.State, state fleetingprovider.State) int {
	n := 0
	for _, s := range seen {
		if s == state {
			n++
		}
	}
	return n
}

// directories are the workers that the state directory knows.
func (w *world) directories() []string {
	entries, err := os.ReadDir(filepath.Join(w.stateDir, "pools", "default", "workers"))
	require.NoError(w.t, err)
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names
}
