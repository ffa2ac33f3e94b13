//go:build linux

package foreign

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakeguest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// bin holds the program and the fakes, and is first in PATH.
var bin string

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m, sandbox.Programs(&bin))) }

// install builds the program and a fake, once each.
func install(t *testing.T, fake string, names ...string) {
	t.Helper()
	sandbox.Need(t, "go", "ssh-keygen", "cp")
	if _, err := os.Stat(filepath.Join(bin, testrun.ProgramName)); err != nil {
		_, err := testrun.Build(bin)
		require.NoError(t, err)
	}
	sandbox.Install(t, bin, fake, names...)
}

// ownDevices gives the sandbox a /dev of its own, for /dev/vmm to be in it.
func ownDevices(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"))
	for _, name := range []string{"null", "zero", "random", "urandom", "tty"} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		require.NoError(t, unix.Mount("/dev/"+name, path, "", unix.MS_BIND, ""))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "vmm"), 0o755))
	require.NoError(t, os.Symlink("/proc/self/fd", filepath.Join(dir, "fd")))
	require.NoError(t, unix.Mount(dir, "/dev", "", unix.MS_MOVE, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount("/dev", unix.MNT_DETACH)) })
}

// shortDir leaves room for the paths of sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mf-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// command runs the program and returns what it printed.
func command(t *testing.T, args ...string) []byte {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.Command(filepath.Join(bin, testrun.ProgramName), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", stderr.String(), out)
	return out
}

// try runs two jobs, and looks at what they said and at what is left.
func try(t *testing.T, backend, config, system string) {
	t.Helper()
	outcome, err := runner.ParseOutcome(command(t, "try", "--json", "--backend", backend, "--config", config,
		"--jobs", "2", "--",
		"uname -s; hostname; cat /etc/built; sudo -n true && cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub"))
	require.NoError(t, err)
	require.Equal(t, backend, outcome.Backend)
	require.Empty(t, outcome.LeftOver)
	require.Len(t, outcome.Jobs, 2)
	var keys []string
	for _, job := range outcome.Jobs {
		require.Zero(t, job.ExitCode, job.Stderr)
		require.Equal(t, "clone", job.How)
		said := strings.Fields(job.Stdout)
		require.Len(t, said, 5, job.Stdout)
		require.Equal(t, []string{system, job.Worker, "built", "ssh-ed25519"}, said[:4])
		keys = append(keys, said[4])
	}
	require.NotEqual(t, keys[0], keys[1])
	require.JSONEq(t, "[]", string(command(t, "ps", "--json", "--backend", backend, "--config", config)))
	require.Contains(t, string(command(t, "doctor", "--backend", backend, "--config", config)), "backend "+backend)
}

const runnerConfig = `[[runners]]
  name = "foreign"
  [runners.autoscaler]
    plugin = "fleeting-plugin-mayfly"
    [runners.autoscaler.plugin_config]
      state_dir = %q
      image = { source = %q, run = ["echo built >/etc/built"] }
      %s
`

func TestTryOnTart(t *testing.T) {
	install(t, "fakes/faketart", "tart")
	dir := shortDir(t)
	t.Setenv("MAYFLY_FAKE_TART", filepath.Join(dir, "mac"))
	image := filepath.Join(dir, "mac", "registry", "registry.example.org_mac:latest")
	write(t, filepath.Join(image, "config.json"),
		`{"version":1,"os":"darwin","arch":"arm64","cpuCount":2,"cpuCountMin":2,`+
			`"memorySize":2147483648,"memorySizeMin":1073741824,"macAddress":"5a:00:00:00:00:01","diskGB":50}`)
	disk := fakeguest.Disk{System: fakeguest.Darwin, User: "admin", Password: "admin"}
	require.NoError(t, disk.Make(filepath.Join(image, "disk.img")))

	config := filepath.Join(dir, "config.toml")
	write(t, config, fmt.Sprintf(runnerConfig, filepath.Join(dir, "s"), "oci:registry.example.org/mac:latest", ""))
	try(t, "tart", config, fakeguest.Darwin)
	require.NoFileExists(t, filepath.Join(dir, "mac", "violations"))
	machines, err := os.ReadDir(filepath.Join(dir, "s", "tart", "vms"))
	require.NoError(t, err)
	require.Len(t, machines, 1, "the golden one is left")
}

func TestTryOnBhyve(t *testing.T) {
	install(t, "fakes/fakebhyve", "vm", "sysrc", "zfs", "bhyvectl", "arp", "pkg")
	ownDevices(t)
	dir := shortDir(t)
	host := filepath.Join(dir, "host")
	t.Setenv("MAYFLY_FAKE_BHYVE", host)
	write(t, filepath.Join(host, "rc.conf"), "vm_dir=\"zfs:zroot/vm\"\n")
	write(t, filepath.Join(host, "vm/.templates/default.conf"), "loader=\"uefi\"\n")
	write(t, filepath.Join(host, "kea-leases4.csv"),
		"address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n")
	disk, err := json.Marshal(fakeguest.Disk{System: fakeguest.FreeBSD, User: "freebsd"})
	require.NoError(t, err)
	write(t, filepath.Join(dir, "freebsd.raw"), string(disk))

	config := filepath.Join(dir, "config.toml")
	write(t, config, fmt.Sprintf(runnerConfig, filepath.Join(dir, "s"), filepath.Join(dir, "freebsd.raw"),
		fmt.Sprintf("bhyve = { leases = \"kea\", leases_file = %q }", filepath.Join(host, "kea-leases4.csv"))))
	try(t, "bhyve", config, fakeguest.FreeBSD)
	require.NoFileExists(t, filepath.Join(host, "violations"))
	guests, err := filepath.Glob(filepath.Join(host, "vm", "[a-z]*"))
	require.NoError(t, err)
	require.Len(t, guests, 1, "the golden one is left")
}
