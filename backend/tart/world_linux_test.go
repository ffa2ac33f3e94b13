package tart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakeguest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// bin is a directory with the fake as tart, first in PATH.
var bin string

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m, sandbox.Programs(&bin))) }

const (
	macImage   = "registry.example.org/mac:latest"
	linuxImage = "registry.example.org/linux:latest"
)

// mac is a Mac of the fake's, with a registry that has two images.
type mac struct {
	t   *testing.T
	dir string // MAYFLY_FAKE_TART
	// state is the state directory, with Tart's home in it.
	state string
}

func newMac(t *testing.T) *mac {
	t.Helper()
	sandbox.Need(t, "go", "ssh-keygen", "cp")
	sandbox.Install(t, bin, "fakes/faketart", "tart")
	state, err := os.MkdirTemp("", "mf-")
	require.NoError(t, err)
	m := &mac{t: t, dir: filepath.Join(state, "mac"), state: state}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(state)) })
	t.Cleanup(m.requireNoViolations)
	t.Cleanup(m.killAll)
	t.Setenv("MAYFLY_FAKE_TART", m.dir)
	m.publish(macImage, fakeguest.Darwin)
	m.publish(linuxImage, fakeguest.Linux)
	return m
}

// publish puts an image into the registry.
func (m *mac) publish(reference, system string) {
	m.t.Helper()
	m.make(m.published(reference), system)
}

// published is where the registry has an image.
func (m *mac) published(reference string) string {
	return filepath.Join(m.dir, "registry", strings.ReplaceAll(reference, "/", "_"))
}

func (m *mac) make(dir, system string) {
	m.t.Helper()
	require.NoError(m.t, os.RemoveAll(dir))
	disk := fakeguest.Disk{System: system, User: "admin", Password: "admin"}
	require.NoError(m.t, disk.Make(filepath.Join(dir, "disk.img")))
	config, err := json.Marshal(map[string]any{
		"version": 1, "arch": "arm64",
		"os":       map[string]string{fakeguest.Darwin: "darwin", fakeguest.Linux: "linux"}[system],
		"cpuCount": 4, "cpuCountMin": 2, "memorySize": 8 << 30, "memorySizeMin": 4 << 30,
		"macAddress": "5a:00:00:00:00:01", "serial": "the image's", "diskGB": 50,
	})
	require.NoError(m.t, err)
	require.NoError(m.t, os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600))
}

// fails makes something fail until the returned function is called.
func (m *mac) fails(what string) (mend func()) {
	m.t.Helper()
	path := filepath.Join(m.dir, "fail", what)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(m.t, os.WriteFile(path, nil, 0o600))
	return func() { require.NoError(m.t, os.Remove(path)) }
}

func (m *mac) requireNoViolations() {
	text, err := os.ReadFile(filepath.Join(m.dir, "violations"))
	if err == nil {
		require.Empty(m.t, string(text), "what Tart lets pass and nobody should do")
	}
}

// killAll ends what a failed test left.
func (m *mac) killAll() {
	tool := tool{home: m.home()}
	for _, entry := range m.machines() {
		if pid, err := tool.pid(entry); err == nil && pid != 0 {
			m.t.Errorf("machine %s was left running", entry)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func (m *mac) home() string { return filepath.Join(m.state, "tart") }

func (m *mac) machines() []string {
	entries, _ := os.ReadDir(filepath.Join(m.home(), "vms")) // none is none
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func (m *mac) options() Options {
	return Options{
		Options: foreigntool.Options{
			Pool: "p", WorkersDir: filepath.Join(m.state, "pool", "workers"),
			ImagesDir: filepath.Join(m.state, "images"), StateDir: m.state,
			Source: image.Source{Kind: image.OCI, Location: macImage}, User: "admin", Password: "admin",
		},
		Home: m.home(), Registry: Registry{Concurrency: 4}, Settings: Settings{Network: NAT, RootDisk: "sync=none"},
		RandomSerial: true, Resolver: "dhcp",
	}
}

func recipe(reference string) image.Recipe {
	return image.Recipe{
		Source: image.Source{Kind: image.OCI, Location: reference},
		Run:    []string{"echo built >/etc/built"}, User: "admin", Disk: 10 << 30, CPUs: 4, Memory: 8 << 30,
	}
}

// harness is one of a pool's, all of which share the Mac.
func (m *mac) harness(pool string) backendtest.Harness {
	options := m.options()
	options.Pool, options.WorkersDir = pool, filepath.Join(m.state, pool, "workers")
	return backendtest.Harness{
		Backend: New(options),
		Again:   func(*testing.T) backend.Backend { return New(options) },
		Kill: func(t *testing.T, id string) {
			pid, err := tool{home: m.home()}.pid(id)
			require.NoError(t, err)
			require.Positive(t, pid, "it has ended already") // 0 would be we ourselves, and whoever started us
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		},
		Other: func(*testing.T) backendtest.Harness { return m.harness("other") },
		Name:  pool, Dir: filepath.Join(m.state, pool),
		Recipe: recipe(macImage), CPUs: 4, Memory: 8 << 30, Patience: 2 * time.Minute,
	}
}

// TestConformance has one Mac for the whole suite, so that the image is built
// once.
func TestConformance(t *testing.T) {
	m := newMac(t)
	backendtest.Run(t, func(*testing.T) backendtest.Harness { return m.harness("p") })
}
