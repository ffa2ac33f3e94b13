//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/user"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/escapee"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// buildEscapee builds what tries to escape.
func buildEscapee(t *testing.T) string {
	t.Helper()
	need.Programs(t, "go")
	need.Root(t)
	path, err := escapee.Build(t.TempDir())
	require.NoError(t, err)
	return path
}

// house is a directory like a worker's, with a neighbour's beside it.
type house struct {
	dir, neighbour, state string
	golden, disk          string
	user                  int
	units                 Units
}

const houseID = "p-aaaaaaaa"

func newHouse(t *testing.T) house {
	t.Helper()
	need.Root(t)
	state := t.TempDir()
	h := house{
		state: state, dir: filepath.Join(state, "workers", houseID), neighbour: filepath.Join(state, "workers", "p-bbbbbbbb"),
		golden: filepath.Join(state, "golden"), user: user.First + user.Count - 1 - os.Getpid()%1000,
		units: Units{WorkersDir: filepath.Join(state, "workers")},
	}
	h.disk = filepath.Join(h.dir, "disk")
	require.NoError(t, errors.Join(os.MkdirAll(h.dir, 0o700), os.MkdirAll(h.neighbour, 0o755)))
	for path, mode := range map[string]os.FileMode{
		h.golden: 0o444, h.disk: 0o600, filepath.Join(h.dir, "worker.json"): 0o644,
		filepath.Join(h.neighbour, "disk"): 0o666, filepath.Join(state, "acceleration.json"): 0o644,
	} {
		require.NoError(t, os.WriteFile(path, []byte("content"), mode))
		require.NoError(t, os.Chmod(path, mode))
	}
	require.NoError(t, os.Chown(h.disk, h.user, h.user))
	t.Cleanup(func() { h.end(t, houseID) })
	return h
}

// end ends what is left in a group, and the group.
func (h house) end(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, h.units.End(ctx, id))
}

var roomy = cgroup.Limits{Memory: 256 << 20, CPUs: 2, PIDs: 100}

func (h house) confinement() *Confinement {
	return &Confinement{
		User: h.user, Read: []string{h.golden}, Write: []string{h.disk}, Unit: h.units.Name(houseID), Limits: roomy,
		FileSize: 1 << 20,
	}
}

// emptyNamespace is the path of a network namespace with nothing in it.
func emptyNamespace(t *testing.T) string {
	t.Helper()
	holder := exec.Command("sleep", "600")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	require.NoError(t, holder.Start())
	t.Cleanup(func() { _, _ = holder.Process.Kill(), holder.Wait() })
	return fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid)
}

// tried runs the escapee to its end, and returns what came of each attempt.
func tried(t *testing.T, c Command) (results map[string]string, sees []string) {
	t.Helper()
	c.Output = filepath.Join(t.TempDir(), "output")
	p, err := Start(c)
	require.NoError(t, err)
	<-p.Done()
	results, sees, err = escapee.Read(c.Output)
	require.NoError(t, err)
	require.ErrorIs(t, p.Err(), ErrSucceeded, "%v", results)
	return results, sees
}

// TestAConfinedProgramFindsAnEmptyRoom tries everything twice: confined, where it
// has to fail, and as we are, where it has to work.
func TestAConfinedProgramFindsAnEmptyRoom(t *testing.T) {
	program, h := buildEscapee(t), newHouse(t)
	neighbour, err := Start(Command{
		Path: "/bin/sh", Arguments: []string{"-c", "kill -STOP $$"}, Output: os.DevNull,
		Confinement: &Confinement{User: h.user - 1, Unit: h.units.Name("p-bbbbbbbb"), Limits: roomy},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		kill(t, neighbour)
		h.end(t, "p-bbbbbbbb")
	})
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	abstract, err := net.Listen("unix", "@mayfly-escapee-"+strconv.Itoa(os.Getpid()))
	require.NoError(t, err)
	defer abstract.Close()
	onDisk, err := net.Listen("unix", filepath.Join(h.neighbour, "agent.sock"))
	require.NoError(t, err)
	defer onDisk.Close()
	setuid := filepath.Join(h.state, "id")
	id, err := os.ReadFile("/usr/bin/id")
	require.NoError(t, err)
	require.NoError(t, errors.Join(os.WriteFile(setuid, id, 0o755), os.Chmod(setuid, 0o4755)))
	node := filepath.Join(h.dir, "node")

	forbidden := []string{
		"list=" + h.neighbour, "read=" + filepath.Join(h.neighbour, "disk"),
		"read=" + filepath.Join(h.dir, "worker.json"), "read=" + filepath.Join(h.state, "acceleration.json"),
		"read=/etc/shadow", "read=/etc/passwd", "list=/root", "list=/proc/self", "list=/sys/class",
		"write=" + h.golden, "make=" + filepath.Join(h.dir, "link"), "make=/usr/escaped", "make=/escaped",
		"kill=1", fmt.Sprintf("kill=%d", os.Getpid()), fmt.Sprintf("kill=%d", neighbour.PID),
		fmt.Sprintf("trace=%d", neighbour.PID),
		"dial=tcp:" + tcp.Addr().String(), "dial=unix:" + abstract.Addr().String(), "dial=unix:" + onDisk.Addr().String(),
		"root=", "setuid=" + setuid, "mount=" + h.state, "mknod=" + node,
	}
	allowed := []string{"walk=" + strings.Join(append(systemDirs, systemFiles...), ":"), "read=" + h.golden, "read=" + h.disk, "write=" + h.disk, "read=/dev/urandom", "write=/dev/null"}

	c := h.confinement()
	c.Read = append(c.Read, setuid)
	results, sees := tried(t, Command{
		Path: program, Arguments: slices.Concat(forbidden, allowed), Namespace: emptyNamespace(t), Confinement: c,
	})
	for _, attempt := range forbidden {
		require.Contains(t, results, attempt)
		require.NotEqual(t, escapee.Worked, results[attempt], attempt)
	}
	for _, attempt := range allowed {
		require.Equal(t, escapee.Worked, results[attempt], attempt)
	}
	sees = slices.DeleteFunc(sees, func(path string) bool { // links such as /bin
		return slices.Contains(append(systemDirs, systemFiles...), path)
	})
	require.ElementsMatch(t, append(usualDevices, h.golden, h.disk, setuid, program), sees)

	outside := slices.DeleteFunc(slices.Clone(forbidden), func(attempt string) bool {
		return strings.HasPrefix(attempt, "make=") || strings.HasPrefix(attempt, "mount=")
	})
	outside = append(outside, "make="+filepath.Join(h.dir, "link"))
	results, _ = tried(t, Command{Path: program, Arguments: outside})
	for _, attempt := range outside {
		require.Equal(t, escapee.Worked, results[attempt], "%s has to work outside, or it proves nothing", attempt)
	}
}

// requireForbidden tries something confined, where it has to fail, and as we are.
func requireForbidden(t *testing.T, attempt string) {
	t.Helper()
	c := Command{Path: buildEscapee(t), Arguments: []string{attempt}}
	results, _ := tried(t, c)
	require.Equal(t, escapee.Worked, results[attempt], "it has to work outside, or it proves nothing")
	c.Confinement = newHouse(t).confinement()
	results, _ = tried(t, c)
	require.Contains(t, results, attempt)
	require.NotEqual(t, escapee.Worked, results[attempt])
}

func TestAConfinedProgramGetsNoUserNamespace(t *testing.T) {
	most, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
	if err != nil || strings.TrimSpace(string(most)) == "0" {
		need.Other(t, "this host has no user namespaces")
	}
	requireForbidden(t, "userns=")
}

func TestAConfinedProgramReadsNoKeyOfOurs(t *testing.T) {
	if sessionKey == "" {
		need.Other(t, "this host has no keyrings for us")
	}
	requireForbidden(t, "key="+sessionKey)
}

// TestAConfinedProcessHasNoPower looks from outside.
func TestAConfinedProcessHasNoPower(t *testing.T) {
	t.Setenv("MAYFLY_TEST_TOKEN", "secret")
	h := newHouse(t)
	namespace := emptyNamespace(t)
	p, err := Start(Command{
		Path: "/bin/sh", Arguments: []string{"-c", "kill -STOP $$"}, Output: filepath.Join(t.TempDir(), "output"),
		Namespace: namespace, Confinement: h.confinement(),
	})
	require.NoError(t, err)
	t.Cleanup(func() { kill(t, p) })
	var status []byte
	require.Eventually(t, func() bool { // before it stops itself it need not be what it is to be
		status, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
		return err == nil && strings.Contains(string(status), "State:\tT")
	}, time.Minute, time.Millisecond)
	const none = "0000000000000000"
	for _, line := range []string{
		fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", h.user), fmt.Sprintf("Gid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", h.user),
		"Groups:\t \n", "CapInh:\t" + none, "CapPrm:\t" + none, "CapEff:\t" + none, "CapBnd:\t" + none, "CapAmb:\t" + none,
		"NoNewPrivs:\t1\n", "Umask:\t0077\n",
	} {
		require.Contains(t, string(status), line)
	}
	for _, kind := range []string{"mnt", "ipc", "uts", "net"} {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", p.PID, kind))
		require.NoError(t, err)
		ours, err := os.Readlink("/proc/self/ns/" + kind)
		require.NoError(t, err)
		require.NotEqual(t, ours, theirs, kind)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.PID))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^Max file size +1048576 +1048576 `, string(limits))
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID))
	require.NoError(t, err)
	require.Subset(t, strings.Split(string(environ), "\x00"), environment)
	require.NotContains(t, string(environ), "secret")
	hierarchies, err := cgroup.Hierarchies()
	require.NoError(t, err)
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID))
	require.NoError(t, err)
	require.Equal(t, len(hierarchies), strings.Count(string(groups), h.units.Name(houseID)), string(groups))
	found, err := Find(func([]string) bool { return true })
	require.NoError(t, err)
	require.Contains(t, found, p.Identity, "it is found although it is another user's")

	kill(t, p)
	h.end(t, houseID)
	ids, err := h.units.Find()
	require.NoError(t, err)
	require.NotContains(t, ids, houseID)
}

// TestConfiningLeavesThePluginAsItIs looks at every thread that goes on.
func TestConfiningLeavesThePluginAsItIs(t *testing.T) {
	h := newHouse(t)
	want, err := os.Readlink("/proc/self/ns/mnt")
	require.NoError(t, err)
	namespace := emptyNamespace(t)
	for range 20 {
		p, err := Start(Command{Path: "/bin/true", Output: os.DevNull, Namespace: namespace, Confinement: h.confinement()})
		require.NoError(t, err)
		<-p.Done()
		require.ErrorIs(t, p.Err(), ErrSucceeded)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), newRoot, "mounts of a root that was put together")
	require.Eventually(t, func() bool { // a thread ends a moment after its goroutine
		threads, err := filepath.Glob("/proc/self/task/*/ns/mnt")
		require.NoError(t, err)
		for _, thread := range threads {
			if got, err := os.Readlink(thread); err == nil && got != want {
				return false
			}
		}
		return true
	}, time.Minute, time.Millisecond)
}

func TestWhatCannotBeConfinedIsNotStarted(t *testing.T) {
	h := newHouse(t)
	for want, spoil := range map[string]func(*Command){
		"/usr/share/disk lies below /usr": func(c *Command) { c.Confinement.Write = []string{"/usr/share/disk"} },
		"/nowhere/disk":                   func(c *Command) { c.Confinement.Read = []string{"/nowhere/disk"} },
		"/dev/nothing":                    func(c *Command) { c.Confinement.Devices = []string{"/dev/nothing"} },
		"/nowhere/netns":                  func(c *Command) { c.Namespace = "/nowhere/netns" },
		"/usr/bin/nothing":                func(c *Command) { c.Path = "/usr/bin/nothing" },
	} {
		c := Command{Path: "/bin/true", Output: os.DevNull, Confinement: h.confinement()}
		spoil(&c)
		_, err := Start(c)
		require.ErrorContains(t, err, want)
	}
}

// TestLimitsHoldForAConfinedProgram has one that wants too much.
func TestLimitsHoldForAConfinedProgram(t *testing.T) {
	h := newHouse(t)
	hierarchies, err := cgroup.Hierarchies()
	require.NoError(t, err)
	lacking := cgroup.Lacking(hierarchies)
	for what, script := range map[string]string{
		cgroup.Memory: "head -c 200M /dev/zero | tail -c 150M >/dev/null",
		cgroup.PIDs:   "set -e; for i in 1 2 3 4 5 6 7 8; do sleep 600 & done",
	} {
		if slices.Contains(lacking, what) {
			t.Logf("this host cannot limit %s", what)
			continue
		}
		c := h.confinement()
		c.Limits = cgroup.Limits{Memory: 32 << 20, CPUs: 1, PIDs: 5}
		p, err := Start(Command{Path: "/bin/sh", Arguments: []string{"-c", script}, Output: os.DevNull, Confinement: c})
		require.NoError(t, err)
		<-p.Done()
		require.ErrorContains(t, p.Err(), "exit", what)
		require.NotErrorIs(t, p.Err(), ErrSucceeded, what)
		h.end(t, houseID)
	}
}

// TestAConfinedProgramCannotFillTheDisk has one that writes more than its file may have.
func TestAConfinedProgramCannotFillTheDisk(t *testing.T) {
	h := newHouse(t)
	p, err := Start(Command{
		Path: "/bin/sh", Arguments: []string{"-c", "exec head -c 2M /dev/zero >" + h.disk},
		Output: os.DevNull, Confinement: h.confinement(),
	})
	require.NoError(t, err)
	<-p.Done()
	require.ErrorContains(t, p.Err(), unix.SIGXFSZ.String())
	info, err := os.Stat(h.disk)
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, info.Size())
}

// TestAConfinedProgramMayLockWhatItNeeds also where that is more than we may, unless we
// may not change that either.
func TestAConfinedProgramMayLockWhatItNeeds(t *testing.T) {
	h := newHouse(t)
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &before))
	start := func(locked uint64) error {
		confinement := h.confinement()
		confinement.LockedMemory = int64(locked)
		p, err := Start(Command{
			Path: "/bin/sh", Arguments: []string{"-c", fmt.Sprintf(`[ "$(ulimit -l)" = %d ]`, locked/1024)},
			Output: os.DevNull, Confinement: confinement,
		})
		if err != nil {
			return err
		}
		<-p.Done()
		return p.Err()
	}
	require.ErrorIs(t, start(1<<20), ErrSucceeded)
	if before.Max == unix.RLIM_INFINITY {
		return // there is no more
	}
	if err := start(before.Max + 1<<20); errors.Is(err, unix.EPERM) {
		require.ErrorContains(t, err, "set LimitMEMLOCK=infinity")
	} else {
		require.ErrorIs(t, err, ErrSucceeded)
	}
	var after unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &after))
	require.Equal(t, before.Cur, after.Cur, "what holds for us stays")
}

func TestAProgramThatJoinsLateIsInItsGroupOnceJoined(t *testing.T) {
	h := newHouse(t)
	confined := h.confinement()
	confined.JoinsLate = true
	p, err := Start(Command{Path: "/bin/sleep", Arguments: []string{"600"}, Output: os.DevNull, Confinement: confined})
	require.NoError(t, err)
	t.Cleanup(func() { kill(t, p) })
	require.NoError(t, p.Joined(t.Context()))
	hierarchies, err := cgroup.Hierarchies()
	require.NoError(t, err)
	entries, err := scope(hierarchies, confined.Unit).Make(confined.Limits)
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	for _, entry := range entries {
		processes, err := os.ReadFile(entry.Processes())
		require.NoError(t, err)
		require.Contains(t, strings.Fields(string(processes)), strconv.Itoa(p.PID), entry.Dir)
	}
}

func TestAProgramThatCannotJoinItsGroupIsEnded(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	require.NoError(t, cmd.Start())
	refused := errors.New("no such group")
	p := watch(cmd, func() error { return refused })
	require.ErrorIs(t, p.Joined(t.Context()), refused)
	<-p.Done()
	require.ErrorIs(t, p.Err(), refused)
}

func TestScopePropertiesAreThoseOfTheLimits(t *testing.T) {
	got := map[string]string{}
	for _, property := range scopeProperties(cgroup.Limits{Memory: 1 << 30, CPUs: 3, PIDs: 7}, 4711) {
		got[property.Name] = property.Value.String()
	}
	require.Equal(t, map[string]string{
		"Description": `"a machine of Mayfly"`, "Slice": `"mayfly.slice"`, "PIDs": "@au [4711]",
		"CollectMode": `"inactive-or-failed"`, "MemoryMax": "@t 1073741824", "MemorySwapMax": "@t 0",
		"CPUQuotaPerSecUSec": "@t 3000000", "TasksMax": "@t 7",
	}, got)
}

// BenchmarkConfinedStart runs true(1) with and without a confinement, in turn, so
// that a busy host is as busy for one as for the other, and reports the medians:
// -benchtime 100x is enough.
func BenchmarkConfinedStart(b *testing.B) {
	need.Root(b)
	units := Units{WorkersDir: b.TempDir()}
	confined := &Confinement{
		User: user.First, Devices: []string{"/dev/net/tun"}, Unit: units.Name(houseID),
		Limits: roomy, FileSize: 1 << 30,
	}
	kinds := map[string]*Confinement{"plain": nil, "confined": confined}
	took := map[string][]time.Duration{}
	for b.Loop() {
		for kind, confinement := range kinds {
			began := time.Now()
			p, err := Start(Command{Path: "/bin/true", Output: os.DevNull, Confinement: confinement})
			require.NoError(b, err)
			<-p.Done()
			took[kind] = append(took[kind], time.Since(began))
			require.ErrorIs(b, p.Err(), ErrSucceeded)
		}
	}
	b.StopTimer()
	require.NoError(b, units.End(b.Context(), houseID))
	for kind, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, kind+"-ms")
	}
}
