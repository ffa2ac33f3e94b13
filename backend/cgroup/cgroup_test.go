//go:build linux

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestHierarchiesOfAHost(t *testing.T) {
	const hybrid = `30 29 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
31 29 0:27 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 29 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
34 29 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
35 29 0:27 / /again/memory rw - cgroup cgroup rw,memory
36 29 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
37 29 8:1 / / rw - ext4 /dev/sda1 rw
38 29 0:32 / /sys/fs/cgroup/blkio ro,nosuid - cgroup cgroup rw,blkio
`
	got := parse(hybrid)
	require.Equal(t, []Hierarchy{
		{Dir: "/sys/fs/cgroup/unified", Unified: true},
		{Dir: "/sys/fs/cgroup/memory", Controllers: []string{Memory}},
		{Dir: "/sys/fs/cgroup/cpu,cpuacct", Controllers: []string{CPU}},
		{Dir: "/sys/fs/cgroup/systemd", Controllers: []string{}},
		{Dir: "/sys/fs/cgroup/pids", Controllers: []string{PIDs}},
	}, got)
	require.Empty(t, Lacking(got))
	require.Equal(t, []string{Memory, PIDs}, Lacking(got[2:4]))
	require.Equal(t, []string{Memory, CPU, PIDs}, Lacking(nil))
}

// TestAGroupWithoutLimitsSaysSo has directories in place of a tree that may not limit:
// the files of the limits are not there.
func TestAGroupWithoutLimitsSaysSo(t *testing.T) {
	unified := Hierarchy{Dir: t.TempDir(), Unified: true, Controllers: []string{Memory, CPU, PIDs}}
	old := Hierarchy{Dir: t.TempDir(), Controllers: []string{Memory}}
	g := New([]Hierarchy{unified, old}, "a.slice", "b.scope")
	_, err := g.Make(wide)
	require.NoError(t, err)
	require.Equal(t, []string{Memory, CPU, PIDs}, g.Lacking())
	for _, path := range []string{
		filepath.Join(g.dir(unified), "cpu.max"), filepath.Join(g.dir(old), "memory.limit_in_bytes"),
		filepath.Join(g.dir(old), "pids.max"), // of a controller that is not this tree's
	} {
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	require.Equal(t, []string{PIDs}, g.Lacking())
}

// slice is this run's own: other tests have theirs beside it.
func slice() string { return fmt.Sprintf("mayfly-test-%d.slice", os.Getpid()) }

// enter starts a shell in a new group.
func enter(t *testing.T, limits Limits, script string) (Group, *exec.Cmd) {
	t.Helper()
	need.Root(t)
	hierarchies, err := Hierarchies()
	require.NoError(t, err)
	if len(hierarchies) == 0 {
		t.Skip("no control groups are mounted")
	}
	g := New(hierarchies, slice(), strings.ToLower(t.Name()))
	entries, err := g.Make(limits)
	require.NoError(t, err)
	var join []string
	for _, entry := range entries {
		join = append(join, entry.Processes())
	}
	t.Cleanup(func() {
		end(t, g)
		RemoveSlice(hierarchies, slice())
		for _, h := range hierarchies {
			require.NoDirExists(t, filepath.Join(h.Dir, slice()))
		}
	})
	args := append([]string{"-ec", `for f; do echo $$ >"$f"; done; ` + script, "sh"}, join...)
	shell := exec.Command("sh", args...)
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return g, shell
}

func end(t *testing.T, g Group) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, g.End(ctx))
}

func needs(t *testing.T, controller string) {
	t.Helper()
	need.Root(t)
	hierarchies, err := Hierarchies()
	require.NoError(t, err)
	for _, lacking := range Lacking(hierarchies) {
		if lacking == controller {
			t.Skip("this host cannot limit " + controller)
		}
	}
}

// begin starts a shell, and returns once it says that it is ready.
func begin(t *testing.T, shell *exec.Cmd) {
	t.Helper()
	out, err := shell.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, shell.Start())
	_, err = out.Read(make([]byte, 1))
	require.NoError(t, err)
}

var wide = Limits{Memory: 1 << 30, CPUs: 4, PIDs: 100}

func TestEndKillsAllAtOnce(t *testing.T) {
	g, shell := enter(t, wide, "for i in 1 2 3; do (trap '' TERM; sleep 600) & done; echo ready; wait")
	begin(t, shell)
	names, err := List(g.hierarchies, slice())
	require.NoError(t, err)
	require.Equal(t, []string{"testendkillsallatonce"}, names)

	end(t, g)
	require.Error(t, shell.Wait())
	names, err = List(g.hierarchies, slice())
	require.NoError(t, err)
	require.Empty(t, names)
	end(t, g) // again
}

// A kernel without cgroup.kill is one whose file is not there.
func TestEndKillsOneByOne(t *testing.T) {
	g, shell := enter(t, wide, "sleep 600 >/dev/null & echo ready; wait")
	var others []Hierarchy
	for _, h := range g.hierarchies {
		if !h.Unified {
			others = append(others, h)
		}
	}
	if len(others) == 0 {
		t.Skip("every group here has a cgroup.kill")
	}
	begin(t, shell)
	go shell.Wait()
	end(t, New(others, g.slice, g.name))
}

// A group without cgroup.kill whose processes fork faster than they are killed: none
// forks any more once the end has begun.
func TestEndLetsNothingFork(t *testing.T) {
	needs(t, PIDs)
	g, shell := enter(t, wide, "echo ready; sleep 600")
	begin(t, shell)
	for _, h := range g.hierarchies {
		if !slices.Contains(h.Controllers, PIDs) {
			continue
		}
		if h.Unified {
			shell.Process.Kill()
			shell.Wait()
			t.Skip("every group here has a cgroup.kill")
		}
		require.NoError(t, kill(g.dir(h)))
		most, err := os.ReadFile(filepath.Join(g.dir(h), "pids.max"))
		require.NoError(t, err)
		require.Equal(t, "0", strings.TrimSpace(string(most)))
	}
	require.Error(t, shell.Wait())
}

// A thread that has started a machine stays in its group until it ends, and cgroup.procs
// names the whole process then.
func TestEndSparesItsOwnProcess(t *testing.T) {
	need.Root(t)
	hierarchies, err := Hierarchies()
	require.NoError(t, err)
	g := New(hierarchies, slice(), strings.ToLower(t.Name()))
	t.Cleanup(func() { RemoveSlice(hierarchies, slice()) })
	entries, err := g.Make(wide)
	require.NoError(t, err)
	entered, leave := make(chan error, 1), make(chan struct{})
	var enter func()
	enter = func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread() // the main thread would not end
			go enter()
			<-leave
			return
		}
		var errs []error
		for _, entry := range entries {
			if !entry.Unified {
				errs = append(errs, entry.EnterThread(unix.Gettid()))
			}
		}
		entered <- errors.Join(errs...)
		<-leave
	}
	go enter()
	require.NoError(t, <-entered)
	time.AfterFunc(20*poll, func() { close(leave) })
	end(t, g)
}

// The test plays systemd, which removes a group that it sees empty.
func TestEndScopeLeavesTheRemovalToSystemd(t *testing.T) {
	g, shell := enter(t, wide, "echo ready; sleep 600")
	begin(t, shell)

	ended := make(chan error, 1)
	go func() { ended <- g.EndScope(t.Context()) }()
	require.Error(t, shell.Wait(), "it was killed")
	select {
	case err := <-ended:
		require.Fail(t, "it did not wait for the removal", err)
	case <-time.After(20 * poll):
	}
	for _, h := range g.hierarchies {
		require.DirExists(t, g.dir(h))
	}
	end(t, g)
	require.NoError(t, <-ended)
	require.NoError(t, g.EndScope(t.Context()), "again")
}

func TestMemoryIsLimited(t *testing.T) {
	needs(t, Memory)
	g, shell := enter(t, Limits{Memory: 32 << 20, CPUs: 1, PIDs: 100}, "head -c 200M /dev/zero | tail -c 150M >/dev/null")
	require.Zero(t, g.MemoryKills())
	require.Error(t, shell.Run())
	require.Positive(t, g.MemoryKills())
}

func TestProcessesAreLimited(t *testing.T) {
	needs(t, PIDs)
	_, shell := enter(t, Limits{Memory: 1 << 30, CPUs: 1, PIDs: 5}, "for i in 1 2 3 4 5 6 7 8; do sleep 600 & done")
	require.Error(t, shell.Run())
}

// Two busy loops get the time of one processor, which no host can make more.
func TestProcessorsAreLimited(t *testing.T) {
	needs(t, CPU)
	_, shell := enter(t, Limits{Memory: 1 << 30, CPUs: 1, PIDs: 100},
		"for i in 1 2 3 4; do timeout 2 sh -c 'while :; do :; done' & done; wait")
	began := time.Now()
	require.NoError(t, shell.Run())
	spent := shell.ProcessState.UserTime() + shell.ProcessState.SystemTime()
	require.Less(t, spent, time.Since(began)+500*time.Millisecond)
}

// A busy host gives machines what it gives processes outside of groups.
func TestMachinesWeighAsMuchAsTheirProcessors(t *testing.T) {
	require.Equal(t, [2]string{"cpu.weight", "300"}, weight(Hierarchy{Unified: true}, 3, whole))
	require.Equal(t, [2]string{"cpu.weight", "10000"}, weight(Hierarchy{Unified: true}, 256, whole))
	require.Equal(t, [2]string{"cpu.shares", "3072"}, weight(Hierarchy{}, 3, whole))
	require.Equal(t, [2]string{"cpu.shares", "768"}, weight(Hierarchy{}, 3, 25))
	require.Equal(t, [2]string{"cpu.weight", "75"}, weight(Hierarchy{Unified: true}, 3, 25))

	needs(t, CPU)
	limits := Limits{Memory: 1 << 30, CPUs: 3, PIDs: 100}
	g, _ := enter(t, limits, "")
	requireWeights := func(percent int) {
		t.Helper()
		for _, h := range g.hierarchies {
			if !slices.Contains(h.Controllers, CPU) {
				continue
			}
			for dir, want := range map[string][2]string{
				filepath.Join(h.Dir, g.slice): weight(h, runtime.NumCPU(), whole), g.dir(h): weight(h, 3, percent),
			} {
				got, err := os.ReadFile(filepath.Join(dir, want[0]))
				require.NoError(t, err)
				require.Equal(t, want[1], strings.TrimSpace(string(got)))
			}
		}
	}
	requireWeights(whole)
	for _, percent := range []int{25, whole} {
		require.NoError(t, g.Weigh(limits, percent))
		requireWeights(percent)
	}
}
