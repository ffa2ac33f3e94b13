package plugin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/output"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
)

// budgetJobs is the number of jobs in a long run, such as 500, with a control group
// of 8 GiB in place of one.
const budgetJobs = "MAYFLY_TEST_BUDGET_JOBS"

// atOnce is how many workers each of three pools may have: together they promise three
// times the memory of their control group, which holds four, or three beside what
// is reserved.
const (
	pools  = 3
	atOnce = 4
)

// Three plugin processes, whose jobs really take most of the memory that they were
// promised, in one control group, where the kernel kills when they take more than it
// has.
func TestThreePoolsShareTheMemoryOfAControlGroup(t *testing.T) {
	need.Root(t)
	jobs, unit, take, pause := 45, 256<<20, 192<<20, 100*time.Millisecond
	if text := os.Getenv(budgetJobs); text != "" {
		var err error
		jobs, err = strconv.Atoi(text)
		require.NoError(t, err)
		// Filling all of it 500 times says no more, and takes hours.
		unit, take, pause = 2<<30, 64<<20, time.Second
	}
	group := newMemoryGroup(t, 4*unit)
	stateDir := shortDir(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(jobs)*20*time.Second)
	defer cancel()

	watching, stop := context.WithCancel(ctx)
	seen := make(chan []look, 1)
	go func() { seen <- watchPS(watching, t, stateDir, pause) }()
	log := &output.Buffer{}
	began := time.Now()
	var running sync.WaitGroup
	done := make([][]runner.Task, pools)
	failed := make([]error, pools)
	for i := range pools {
		config := pluginConfig(stateDir)
		config["pool"] = fmt.Sprintf("pool%d", i)
		config["machine"] = map[string]any{"cpus": 1, "memory": fmt.Sprintf("%dMiB", unit>>20), "start_timeout": "1h"}
		config["host"] = map[string]any{"reserve_memory": fmt.Sprintf("%dMiB", unit>>22), "concurrent_starts": 1}
		config["synthetic"] = map[string]any{"reserve": true}
		options := &hclog.LoggerOptions{Level: hclog.Info, Output: log, JSONFormat: true}
		plugin, err := runner.Start(group.enter(t, binary), config, hclog.New(options))
		require.NoError(t, err)
		t.Cleanup(plugin.Kill)
		running.Go(func() {
			defer plugin.Kill()
			done[i], failed[i] = plugin.RunTasks(ctx, (jobs+pools-1)/pools, atOnce, func(int) string { return taking(take) })
		})
	}
	running.Wait()
	took := time.Since(began)
	stop()
	looks := <-seen

	for i := range pools {
		require.NoError(t, failed[i])
		for _, task := range done[i] {
			require.NoError(t, task.Err, task.Worker)
			require.Equal(t, fmt.Sprintln(take), task.Stdout)
		}
	}
	require.Zero(t, group.kills(t), "the kernel killed")
	waits := waitsIn(t, log.String())
	require.NotEmpty(t, waits, "nobody waited, so nothing was shown")
	longest := time.Duration(0)
	for _, wait := range waits {
		longest = max(longest, wait)
	}
	told := waitsThrough(looks)
	require.NotEmpty(t, told, "nobody waited while ps looked, so nothing was shown")
	for _, wait := range told {
		require.Contains(t, wait.reason, "waiting for", "%s waits, and ps does not say for what", wait.worker)
	}
	t.Logf("%d jobs in %s; %d waited, the longest for %s; ps told why %d times; at most %d MiB of %d MiB were taken",
		jobs, took.Round(time.Millisecond), len(waits), longest, len(told), group.peak(t)>>20, 4*unit>>20)
	require.Empty(t, runner.WorkerDirs(t, stateDir))
	for _, dir := range []string{"held", "queue"} {
		entries, err := os.ReadDir(filepath.Join(stateDir, "budget", dir))
		require.NoError(t, err)
		require.Empty(t, entries, dir)
	}
}

// What a killed plugin held keeps the workers of others waiting until its pool is
// opened again, and no longer. Processors are what is scarce here: how many there
// are is the same on every host.
func TestWorkersOfOthersWaitForWhatAKilledPluginHeld(t *testing.T) {
	t.Parallel()
	stateDir := shortDir(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*soon)
	defer cancel()
	config := func(pool string) map[string]any {
		config := pluginConfig(stateDir)
		config["pool"] = pool
		config["machine"] = map[string]any{"cpus": runtime.NumCPU(), "memory": "256MiB"}
		config["host"] = map[string]any{"cpu_overcommit": 1, "reserve_memory": "1MiB", "memory_overcommit": 1000}
		config["synthetic"] = map[string]any{"reserve": true}
		return config
	}
	killed := startQuiet(t, config("default"))
	require.NoError(t, killed.Initialise(ctx))
	require.NoError(t, killed.Grow(ctx, 1))
	_, err := killed.AwaitRunning(ctx)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(runner.PluginPID(t, stateDir), syscall.SIGKILL))
	requirePluginEnds(t, stateDir)

	other := startQuiet(t, config("other"))
	require.NoError(t, other.Initialise(ctx))
	require.NoError(t, other.Grow(ctx, 1))
	require.Eventually(t, func() bool {
		listed, err := listWorkers(ctx, stateDir)
		require.NoError(t, err)
		return slices.ContainsFunc(listed, func(w listedWorker) bool {
			return w.Pool == "other" && w.State == "creating" &&
				strings.Contains(w.Reason, "waiting for processors of the host")
		})
	}, soon, 100*time.Millisecond)

	again := startQuiet(t, config("default"))
	require.NoError(t, again.Initialise(ctx))
	_, err = other.AwaitRunning(ctx)
	require.NoError(t, err)
	require.NoError(t, again.Stop(ctx))
	require.NoError(t, other.Stop(ctx))
	require.Empty(t, runner.WorkerDirs(t, stateDir))
}

// taking is a job that keeps so many bytes in memory for half a second at least, until
// what is behind reads them, and prints how many.
func taking(bytes int) string {
	return fmt.Sprintf("dd if=/dev/zero bs=%d count=1 status=none | { sleep 0.5; wc -c; }", bytes)
}

// look is one look of ps at workers: the tickets in the queue for the host before it
// began and when it had ended, and the reasons that it gave, by worker.
type look struct {
	before, after []string
	reasons       map[string]string
}

// watchPS looks again and again until ctx ends.
func watchPS(ctx context.Context, t *testing.T, stateDir string, pause time.Duration) (looks []look) {
	for {
		time.Sleep(pause) // each look is a process
		l := look{before: tickets(t, stateDir), reasons: make(map[string]string)}
		listed, err := listWorkers(ctx, stateDir)
		if ctx.Err() != nil {
			return looks
		}
		if err != nil {
			t.Errorf("ps: %v", err)
			return looks
		}
		for _, worker := range listed {
			if worker.State == "creating" {
				l.reasons[worker.ID] = worker.Reason
			}
		}
		l.after = tickets(t, stateDir)
		looks = append(looks, l)
	}
}

// tickets are those of workers that stand in the queue for the host: NUMBER-ID.
func tickets(t *testing.T, stateDir string) (names []string) {
	entries, err := os.ReadDir(filepath.Join(stateDir, "budget", "queue"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the queue: %v", err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// toldWait is the reason that a look gave for a wait, or none.
type toldWait struct{ worker, reason string }

// waitsThrough are what each look told of the workers that stood in the queue from
// before the look before it until after it: at their first look, they may just have
// come.
func waitsThrough(looks []look) (told []toldWait) {
	for i := 1; i < len(looks); i++ {
		for _, ticket := range looks[i-1].before {
			if slices.Contains(looks[i].after, ticket) {
				_, worker, _ := strings.Cut(ticket, "-")
				told = append(told, toldWait{worker, looks[i].reasons[worker]})
			}
		}
	}
	return told
}

func TestALookThatDoesNotTellOfAWaitIsFound(t *testing.T) {
	queue := []string{"01-pool-a"}
	for name, test := range map[string]struct {
		looks []look
		told  []toldWait
	}{
		"came after the first look":   {[]look{{}, {before: queue, after: queue}}, nil},
		"left before the second one":  {[]look{{before: queue, after: queue}, {before: queue}}, nil},
		"came again between":          {[]look{{before: queue}, {after: []string{"02-pool-a"}}}, nil},
		"waited, and was not told of": {[]look{{before: queue}, {after: queue}}, []toldWait{{"pool-a", ""}}},
		"waited, and was told of": {
			[]look{{before: queue}, {after: queue, reasons: map[string]string{"pool-a": "x"}}},
			[]toldWait{{"pool-a", "x"}},
		},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.told, waitsThrough(test.looks)) })
	}
}

type listedWorker struct{ ID, Pool, State, Reason string }

func listWorkers(ctx context.Context, stateDir string) (listed []listedWorker, err error) {
	text, err := exec.CommandContext(ctx, binary, "ps", "--json", "--state-dir", stateDir).Output()
	if err == nil {
		err = json.Unmarshal(text, &listed)
	}
	return listed, err
}

// waitsIn is how long each worker waited for the host, of those that did, as the log
// tells.
func waitsIn(t *testing.T, log string) map[string]time.Duration {
	t.Helper()
	waits := make(map[string]time.Duration)
	waited := make(map[string]bool)
	for lines := bufio.NewScanner(strings.NewReader(log)); lines.Scan(); {
		var line struct {
			Message string `json:"@message"`
			Worker  string
			Wait    string `json:"wait_budget"`
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line), lines.Text())
		switch line.Message {
		case "worker waits for the host":
			waited[line.Worker] = true
		case "worker runs":
			wait, err := time.ParseDuration(line.Wait)
			require.NoError(t, err, lines.Text())
			if waited[line.Worker] {
				waits[line.Worker] = wait
			}
		}
	}
	return waits
}

// memoryGroup is a control group with a limit, of either version.
type memoryGroup struct {
	dir     string
	unified bool
}

func newMemoryGroup(t *testing.T, limit int) memoryGroup {
	t.Helper()
	g := memoryGroup{dir: "/sys/fs/cgroup/memory"}
	if _, err := os.Stat(g.dir); err != nil {
		g = memoryGroup{dir: "/sys/fs/cgroup", unified: true}
		// It is enabled already, or the limit is missing below.
		_ = os.WriteFile(filepath.Join(g.dir, "cgroup.subtree_control"), []byte("+memory"), 0o644)
	}
	g.dir = filepath.Join(g.dir, fmt.Sprintf("mayfly-test-%d", os.Getpid()))
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		need.Other(t, "needs a control group for memory: "+err.Error())
	}
	t.Cleanup(func() { // its last process may be on its way out
		require.Eventually(t, func() bool { return os.Remove(g.dir) == nil }, soon, 20*time.Millisecond)
	})
	limits := []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}
	if g.unified {
		limits = []string{"memory.max"}
	}
	for i, name := range limits {
		file, err := os.OpenFile(filepath.Join(g.dir, name), os.O_WRONLY, 0)
		if err != nil && i > 0 { // a kernel that does not count swap
			continue
		}
		if err != nil {
			need.Other(t, "needs a control group that limits memory: "+err.Error())
		}
		_, err = file.WriteString(strconv.Itoa(limit))
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	return g
}

// enter is a program that runs another one in the group.
func (g memoryGroup) enter(t *testing.T, program string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "enter")
	script := fmt.Sprintf("#!/bin/sh\necho $$ >'%s/cgroup.procs' && exec '%s' \"$@\"\n", g.dir, program)
	require.NoError(t, os.WriteFile(path, []byte(script), 0o700))
	return path
}

// kills is how many processes the kernel has killed in the group for want of memory.
func (g memoryGroup) kills(t *testing.T) int {
	t.Helper()
	name := "memory.oom_control"
	if g.unified {
		name = "memory.events"
	}
	return g.number(t, name, "oom_kill ")
}

// peak is the most memory that all in the group took at once, page cache included;
// 0 where the kernel does not say.
func (g memoryGroup) peak(t *testing.T) int {
	t.Helper()
	if g.unified {
		if _, err := os.Stat(filepath.Join(g.dir, "memory.peak")); err != nil {
			return 0
		}
		return g.number(t, "memory.peak", "")
	}
	return g.number(t, "memory.max_usage_in_bytes", "")
}

// number is what follows a prefix in a file of the group.
func (g memoryGroup) number(t *testing.T, file, prefix string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			n, err := strconv.Atoi(strings.TrimSpace(rest))
			require.NoError(t, err)
			return n
		}
	}
	require.Fail(t, "no number", "%s in %s", prefix, text)
	return 0
}
