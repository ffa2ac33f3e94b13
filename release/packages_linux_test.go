package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/output"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

const (
	installed = "/usr/bin/" + program
	stateDir  = "/var/lib/mayfly"
)

// root is a system that was made from packages, in which nothing runs but what a test
// starts.
type root struct {
	t   *testing.T
	dir string
}

// newRoot makes one, with /proc, and takes it away with all that still runs in it.
func newRoot(t *testing.T) root {
	t.Helper()
	sandbox.Need(t, "mmdebstrap", "chroot", "mount", "dpkg-query")
	r := root{t, filepath.Join(t.TempDir(), "root")}
	out, err := exec.Command("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--include=openssl,sudo",
		"--dpkgopt=force-unsafe-io", suite(t), r.dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, unix.Mount("proc", filepath.Join(r.dir, "proc"), "proc", 0, ""))
	t.Cleanup(func() {
		for _, pid := range r.processes() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		require.NoError(t, unix.Unmount(filepath.Join(r.dir, "proc"), unix.MNT_DETACH))
	})
	return r
}

// suite is this host's own release, whose packages can be had.
func suite(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/etc/os-release")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if name, is := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); is {
			return name
		}
	}
	t.Fatal("/etc/os-release names no release")
	return ""
}

// command is one that runs in the root, with nothing to read.
func (r root) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "chroot", append([]string{r.dir}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"}
	return cmd
}

func (r root) run(args ...string) string {
	r.t.Helper()
	out, err := r.command(r.t.Context(), args...).CombinedOutput()
	require.NoError(r.t, err, "%s: %s", args, out)
	return string(out)
}

// processes are those that run the installed program.
func (r root) processes() (pids []int) {
	names, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(r.t, err)
	for _, name := range names {
		to, err := os.Readlink(name)
		if err == nil && strings.TrimSuffix(to, " (deleted)") == filepath.Join(r.dir, installed) {
			var pid int
			require.NoError(r.t, json.Unmarshal([]byte(strings.Split(name, "/")[2]), &pid))
			pids = append(pids, pid)
		}
	}
	return pids
}

// bring puts a file into the root, and returns its path there.
func (r root) bring(from string) string {
	r.t.Helper()
	text, err := os.ReadFile(from)
	require.NoError(r.t, err)
	to := "/tmp/" + filepath.Base(from)
	require.NoError(r.t, os.WriteFile(r.dir+to, text, 0o644))
	return to
}

// pool has jobs run on synthetic workers of the installed program, until the test ends or
// somebody ends them, and waits until their workers run.
func (r root) pool() (workers []string) {
	r.t.Helper()
	var log output.Buffer
	try := r.command(r.t.Context(), installed, "try", "--backend", "synthetic", "--jobs", "2", "--", "sleep 1000")
	try.Stdout, try.Stderr = &log, &log
	require.NoError(r.t, try.Start())
	r.t.Cleanup(func() { _ = try.Process.Kill(); _ = try.Wait() })
	require.Eventually(r.t, func() bool { workers = r.running(); return len(workers) == 2 }, 5*time.Minute,
		100*time.Millisecond, "no workers: %s", &log)
	return workers
}

// running are the ids of workers that run.
func (r root) running() (ids []string) {
	r.t.Helper()
	out, err := r.command(r.t.Context(), installed, "ps", "--backend", "synthetic", "--json").Output()
	require.NoError(r.t, err)
	var listed []struct{ ID, State string }
	require.NoError(r.t, json.Unmarshal(out, &listed), "%s", out)
	for _, worker := range listed {
		if worker.State == "running" {
			ids = append(ids, worker.ID)
		}
	}
	return ids
}

// TestPackagesComeAndGo in one root without systemd, while workers run: the deb, and then
// the rpm, whose scripts need a shell there.
func TestPackagesComeAndGo(t *testing.T) {
	sandbox.Need(t, "rpm")
	r := newRoot(t)
	t.Run("tutorial", func(t *testing.T) { r.followTutorial(t) })
	t.Run("deb", func(t *testing.T) { r.comesAndGoesAsDeb(t) })
	t.Run("rpm", func(t *testing.T) { r.comesAndGoesAsRPM(t) })
}

func (r root) comesAndGoesAsDeb(t *testing.T) {
	r.t = t
	before := r.run("dpkg-query", "--show")
	r.run("dpkg", "--install", r.bring(deb(t, "1.2.3")))
	requireProgram(t, r.dir+installed, "1.2.3")
	info, err := os.Stat(r.dir + stateDir)
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o700, info.Mode())
	require.Equal(t, stateDir, config.Default().StateDir)

	out, err := r.command(t.Context(), installed, "doctor", "--backend", "qemu").CombinedOutput()
	require.Error(t, err, "nothing that it recommends is installed")
	require.Contains(t, string(out), "apt-get install qemu-system-")
	r.run(installed, "ps", "--config", "/usr/share/doc/"+program+"/examples/config.toml")

	workers, plugins := r.pool(), r.processes()
	r.run("dpkg", "--install", r.bring(deb(t, "1.3.0")))
	requireProgram(t, r.dir+installed, "1.3.0")
	require.ElementsMatch(t, workers, r.running(), "an upgrade leaves workers alone")
	require.Subset(t, r.processes(), plugins)

	r.run("mkdir", stateDir+"/images/some")
	r.run("dpkg", "--remove", program)
	require.Empty(t, r.processes(), "no plugin may go on")
	require.Empty(t, r.workers())
	require.DirExists(t, r.dir+stateDir+"/images/some", "data stays until the purge")
	r.run("dpkg", "--purge", program)
	require.NoDirExists(t, r.dir+stateDir)
	require.Equal(t, before, r.run("dpkg-query", "--show"))
	require.Empty(t, r.ours())
}

func (r root) comesAndGoesAsRPM(t *testing.T) {
	r.t = t
	manage := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("rpm", append([]string{"--root", r.dir}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s: %s", args, out)
		return string(out)
	}
	manage("--install", "--nodeps", rpm(t, "1.2.3"))
	requireProgram(t, r.dir+installed, "1.2.3")
	require.Empty(t, manage("--verify", "--nodeps", program))
	require.Contains(t, manage("--query", "--recommends", program), "qemu-img")

	workers := r.pool()
	manage("--upgrade", "--nodeps", rpm(t, "1.3.0"))
	requireProgram(t, r.dir+installed, "1.3.0")
	require.ElementsMatch(t, workers, r.running())

	manage("--erase", program)
	require.Empty(t, r.processes())
	require.Empty(t, r.workers())
	require.NoFileExists(t, r.dir+installed)
	require.NoError(t, os.RemoveAll(r.dir+stateDir)) // as the page says
	require.Empty(t, r.ours())
}

// workers are what is left of workers on the disk.
func (r root) workers() []string {
	entries, err := filepath.Glob(r.dir + stateDir + "/pools/*/workers/*")
	require.NoError(r.t, err)
	return entries
}

// ours are the files that have our name, but for those that a test brought.
func (r root) ours() (paths []string) {
	require.NoError(r.t, fs.WalkDir(os.DirFS(r.dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if path == "tmp" || path == "proc" {
			return fs.SkipDir
		}
		if strings.Contains(entry.Name(), "mayfly") {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}

func TestPackagesHaveTheSameFiles(t *testing.T) {
	sandbox.Need(t, "rpm", "dpkg-deb")
	list := func(name string, args ...string) []string {
		out, err := exec.Command(name, args...).Output()
		require.NoError(t, err)
		return strings.Fields(string(out))
	}
	listed := list("rpm", "--query", "--list", "--package", rpm(t, "1.2.3"))
	unpacked := t.TempDir()
	list("dpkg-deb", "--extract", deb(t, "1.2.3"), unpacked)
	for _, name := range listed {
		_, err := os.Lstat(filepath.Join(unpacked, name))
		require.NoError(t, err)
	}
	require.Contains(t, listed, "/usr/share/man/man1/"+program+".1.gz")
	require.Contains(t, listed, "/usr/lib/systemd/system/gitlab-runner.service.d/50-mayfly.conf")
}

func deb(t *testing.T, version string) string {
	t.Helper()
	return found(t, version, "*.deb")
}

func rpm(t *testing.T, version string) string {
	t.Helper()
	return found(t, version, "*.rpm")
}

// found is the only file of a release that a pattern fits.
func found(t *testing.T, version, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(makeIn(t, first(), version).dir, pattern))
	require.NoError(t, err)
	require.Len(t, names, 1)
	return names[0]
}
