//go:build linux

package qemu

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/user"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// TestAnEscapeFindsAnEmptyRoom starts what tries to escape in place of QEMU: as
// a worker's user, in its namespace, root and group, with the files of a fork,
// beside a fork that runs.
func TestAnEscapeFindsAnEmptyRoom(t *testing.T) {
	f := newForks(t, "escape")
	neighbour, err := f.start(t, 0)
	require.NoError(t, err)
	require.Equal(t, backend.Fork, neighbour.How())
	theirs := f.driver.of(neighbour.ID())
	requireNoPower(t, f, theirs)

	ours, _ := f.spec(t, 1)
	spec := theirs.spec
	spec.Disk, spec.Console = filepath.Join(ours.Dir, "disk"), filepath.Join(ours.Dir, "console.log")
	place := vmm.Place{
		ID: ours.ID, Dir: ours.Dir, Namespace: ours.Lease.Namespace, Tag: f.tag().Value(ours.ID),
		User: user.First + user.Count - 1, Units: process.Units{WorkersDir: f.options.WorkersDir},
	}
	record := filepath.Join(ours.Dir, "worker.json")
	require.NoError(t, errors.Join(os.Link(filepath.Join(theirs.dir, "base"), filepath.Join(ours.Dir, "base")),
		os.WriteFile(record, []byte("{}"), 0o644), os.WriteFile(filepath.Join(theirs.dir, "worker.json"), nil, 0o644)))
	tcp, err := net.Listen("tcp4", ":0")
	require.NoError(t, err)
	defer tcp.Close()
	port := tcp.Addr().(*net.TCPAddr).Port
	abstract, err := net.Listen("unix", "@mayfly-escape")
	require.NoError(t, err)
	defer abstract.Close()

	shared := f.sharedTemplate(t)
	forbidden := []string{
		"list=" + theirs.dir, "read=" + theirs.spec.Disk, "read=" + filepath.Join(theirs.dir, "worker.json"), "read=" + record,
		"dial=unix:" + filepath.Join(theirs.dir, qmpSocket), "read=/etc/shadow", "list=" + f.options.StateDir + "/users",
		"read=" + filepath.Join(f.golden.Dir, "manifest.json"), "write=" + f.golden.Disk(), "write=" + spec.Kernel,
		fmt.Sprintf("kill=%d", theirs.process.PID), fmt.Sprintf("trace=%d", theirs.process.PID), fmt.Sprintf("kill=%d", os.Getpid()),
		"dial=unix:" + abstract.Addr().String(),
		"root=", "mount=" + f.options.StateDir, "mknod=" + filepath.Join(ours.Dir, "node"),
	}
	for _, address := range []string{network.Subnet(subnet).Gateway().String(), "127.0.0.1"} {
		forbidden = append(forbidden, fmt.Sprintf("dial=tcp:%s:%d", address, port))
	}
	allowed := []string{"read=" + spec.Disk, "write=" + spec.Disk, "write=" + spec.Console, "read=" + spec.Kernel,
		"read=" + filepath.Join(f.golden.Disk()), "read=" + shared.Memory()}
	// What QEMU before 8.2 opens for writing is spoilt by who has taken it over.
	if readOnly := f.driver.versions.of(f.driver.binary()).mapsReadOnly(); readOnly {
		forbidden = append(forbidden, "write="+shared.Memory())
	}

	escapee := filepath.Join(t.TempDir(), "escapee")
	need.Programs(t, "go")
	out, err := exec.Command("go", "build", "-o", escapee,
		"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/escapee").CombinedOutput()
	require.NoError(t, err, string(out))
	output := filepath.Join(t.TempDir(), "output")
	c := process.Command{Path: escapee, Arguments: append(forbidden, allowed...), Output: output}
	confined, err := place.Start(c, spec, spec.Files(ours.Dir, false))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.again().Destroy(t.Context(), ours.ID)) })
	require.ErrorIs(t, endOf(confined), process.ErrSucceeded)
	results := readResults(t, output)
	for _, attempt := range forbidden {
		require.Contains(t, results, attempt)
		require.NotEqual(t, "ok", results[attempt], attempt)
	}
	for _, attempt := range allowed {
		require.Equal(t, "ok", results[attempt], attempt)
	}

	// As we are, each works, or it proves nothing.
	require.NoError(t, os.Remove(output))
	var outside []string
	for _, attempt := range forbidden {
		if !strings.HasPrefix(attempt, "mount=") {
			outside = append(outside, attempt)
		}
	}
	plain, err := process.Start(process.Command{Path: escapee, Arguments: outside, Output: output})
	require.NoError(t, err)
	require.ErrorIs(t, endOf(plain), process.ErrSucceeded)
	results = readResults(t, output)
	for _, attempt := range outside {
		require.Equal(t, "ok", results[attempt], attempt)
	}
	require.NoError(t, neighbour.Err())
}

func endOf(p *process.Process) error {
	<-p.Done()
	return p.Err()
}

// readResults are what the escapee says of each attempt.
func readResults(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	results := map[string]string{}
	for line := range strings.Lines(string(text)) {
		attempt, result, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		results[attempt] = result
	}
	return results
}

// requireNoPower looks at a worker's QEMU from outside.
func requireNoPower(t *testing.T, f forks, m *machine) {
	t.Helper()
	pid := m.process.PID
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	const none = "0000000000000000\n"
	for _, line := range []string{
		"CapInh:\t" + none, "CapPrm:\t" + none, "CapEff:\t" + none, "CapBnd:\t" + none, "CapAmb:\t" + none,
		"NoNewPrivs:\t1\n", "Seccomp:\t2\n", "Groups:\t \n",
	} {
		require.Contains(t, string(status), line)
	}
	uid, err := user.New(filepath.Join(f.options.StateDir, "users")).Take(t.Context(), f.options.Pool+"/"+filepath.Base(m.dir))
	require.NoError(t, err)
	require.True(t, user.Ours(uid))
	require.Contains(t, string(status), fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", uid))
	for _, kind := range []string{"mnt", "net", "ipc", "uts"} {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
		require.NoError(t, err)
		ours, err := os.Readlink("/proc/self/ns/" + kind)
		require.NoError(t, err)
		require.NotEqual(t, ours, theirs, kind)
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	require.NoError(t, err)
	require.Contains(t, string(groups), process.Units{WorkersDir: f.options.WorkersDir}.Name(filepath.Base(m.dir)))
}

// TestNothingIsLeftOfAMachineWhoseProcessWasKilled finds by its control group and
// its user what has no process any more.
func TestNothingIsLeftOfAMachineWhoseProcessWasKilled(t *testing.T) {
	f := newForks(t, "leftover")
	spec, key := f.spec(t, 0)
	w, err := f.begin(t.Context(), spec, key)
	require.NoError(t, err)
	killFromOutside(t, f.tag().Value(w.ID()))
	<-w.Done()

	next := f.again()
	found, err := next.Find(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, w.ID(), found[0].ID())
	<-found[0].Done()
	require.Error(t, found[0].Err())
	require.NoError(t, next.Destroy(t.Context(), w.ID()))
	requireNothingLeft(t, f, w)
}

// requireNothingLeft looks for what a machine has outside its directory.
func requireNothingLeft(t *testing.T, f forks, w backendtest.Worker) {
	t.Helper()
	ids, err := process.Units{WorkersDir: f.options.WorkersDir}.Find()
	require.NoError(t, err)
	require.NotContains(t, ids, w.ID())
	owners, err := user.New(filepath.Join(f.options.StateDir, "users")).Owners()
	require.NoError(t, err)
	require.NotContains(t, owners, f.options.Pool+"/"+w.ID())
	found, err := f.again().Find(t.Context())
	require.NoError(t, err)
	require.Empty(t, found)
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), w.ID())
}
