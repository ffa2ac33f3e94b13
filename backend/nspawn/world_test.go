//go:build linux

package nspawn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// stateDir is what the tests share, so that the golden image is built once. It
// is new for each run.
var stateDir string

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m, func() func() {
		stateDir = testrun.Directory()
		return func() {
			for _, state := range []string{ext4Dir(), btrfsDir()} { // what a test has left that failed
				_ = exec.Command(filepath.Join(stateDir, program), "gc", "--state-dir", state).Run()
			}
			_ = unix.Unmount(btrfsDir(), unix.MNT_DETACH)
			_ = unix.Unmount(memoryDir(), unix.MNT_DETACH)
		}
	}))
}

// program is the binary, which is the agent of the guests as well.
const program = "fleeting-plugin-mayfly"

// Where the tests keep what they share, by file system.
func ext4Dir() string  { return filepath.Join(stateDir, "ext4") }
func btrfsDir() string { return filepath.Join(stateDir, "btrfs") }

// memoryDir holds the file of the file system in btrfsDir.
func memoryDir() string { return filepath.Join(stateDir, "memory") }

// needed are the programs that containers take here.
var needed = []string{"systemd-nspawn", "mmdebstrap", "unshare", "mount", "mkfs.ext4", "mkfs.btrfs", "go"}

// shared is what the first test makes for all.
type shared struct {
	binary, config string
	recipe         image.Recipe
	// progress is what the build of the golden image showed.
	progress string
}

// share makes a btrfs file system in a file, has the program build the golden
// image there, and copies it to the other file system: making
// the same root file system from packages twice would take a minute.
var share = sync.OnceValues(func() (s shared, err error) {
	s.binary, s.config = filepath.Join(stateDir, program), filepath.Join(stateDir, "config.toml")
	if err := os.WriteFile(s.config, []byte(runnerConfig()), 0o600); err != nil {
		return s, err
	}
	if err := run("sh", "-ec", fmt.Sprintf(`
		CGO_ENABLED=0 go build -trimpath -o %[1]s ../../cmd/fleeting-plugin-mayfly
		mkdir %[2]s %[3]s %[4]s
		mount -t tmpfs tmpfs %[4]s # a file in memory: dpkg syncs much
		truncate -s 4G %[4]s/btrfs.img
		mkfs.btrfs -q %[4]s/btrfs.img
		mount -o loop %[4]s/btrfs.img %[2]s`, s.binary, btrfsDir(), ext4Dir(), memoryDir())); err != nil {
		return s, err
	}
	var stderr bytes.Buffer
	build := exec.Command(s.binary, "image", "build", "--config", s.config, "--state-dir", btrfsDir())
	build.Stderr, build.Env = &stderr, testrun.Environment()
	digest, err := build.Output()
	if s.progress = stderr.String(); err != nil {
		return s, fmt.Errorf("building the golden image: %w\n%s", err, s.progress)
	}
	golden, _, err := cache.New(filepath.Join(btrfsDir(), "images")).Get(strings.TrimSpace(string(digest)))
	if err != nil {
		return s, err
	}
	s.recipe = testrun.WithSecrets(golden.Recipe)
	s.recipe.Agent, s.recipe.CPUs, s.recipe.Memory = s.binary, 2, 1<<30
	return s, run("sh", "-ec", fmt.Sprintf("mkdir %[1]s/images && cp -a %[2]s %[1]s/images/", ext4Dir(), golden.Dir))
})

// runnerConfig asks for the image that the tests share, with the steps of testrun.
func runnerConfig() string {
	steps, _ := json.Marshal(testrun.Steps) // strings cannot fail, and TOML reads JSON's
	return fmt.Sprintf(`
[[runners]]
  name = "containers"
  executor = "instance"
  [runners.autoscaler]
    plugin = "fleeting-plugin-mayfly"
    [runners.autoscaler.plugin_config]
      backend = "nspawn"
      [runners.autoscaler.plugin_config.image]
        run = %s%s
      [runners.autoscaler.plugin_config.machine]
        cpus = 1
        memory = "512MiB"
      [runners.autoscaler.plugin_config.network]
        ipv6 = "nat"
`, steps, testrun.Inputs)
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}

// pool is a backend with a real network, in the sandbox's namespace.
type pool struct {
	*Backend
	name, dir, state string
	network          *island.Island
}

func world(state, name string) (*pool, error) {
	dir := filepath.Join(state, "pools", name)
	if err := os.MkdirAll(filepath.Join(dir, "workers"), 0o700); err != nil {
		return nil, err
	}
	net, err := island.New(island.Options{
		PoolDir: dir, Pool: name, AddressDir: filepath.Join(state, "addresses"),
		Subnet: netip.MustParsePrefix("10.210.0.0/16"), Containers: true,
		Policy: network.Policy{Search: []string{"corp.test"}}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	p := &pool{name: name, dir: dir, state: state, network: net}
	p.Backend = p.again()
	return p, nil
}

// again is the backend as the next plugin process would make it.
func (p *pool) again() *Backend {
	return New(Options{
		Pool: p.name, WorkersDir: filepath.Join(p.dir, "workers"), ImagesDir: filepath.Join(p.state, "images"),
		Source: image.Debootstrap, PrivateUsers: true, Network: p.network,
	})
}

// newPool skips the test where there can be no containers, and has it fail at
// its end when something is left of them.
func newPool(t testing.TB, state func() string, name string) (*pool, image.Recipe) {
	t.Helper()
	sandbox.Need(t, needed...)
	s, err := share()
	require.NoError(t, err)
	p, err := world(state(), name)
	require.NoError(t, err)
	t.Cleanup(func() { requireNothingLeft(t, p) })
	return p, s.recipe
}

// fileSystems are those that state directories are tried on.
var fileSystems = map[string]func() string{"ext4": ext4Dir, "btrfs": btrfsDir}

// harness is for the conformance suite.
func harness(t *testing.T, state func() string, name string) backendtest.Harness {
	p, recipe := newPool(t, state, name)
	return newHarness(p, recipe)
}
