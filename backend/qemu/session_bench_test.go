//go:build linux

package qemu

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
)

// stageScript is what the runner gives bash for the first stage of a job.
const stageScript = "if set -o | grep pipefail >/dev/null; then set -o pipefail; fi; set -o errexit\n" +
	"set +o noclobber\n: | eval $'echo \"Running on $(hostname)...\"\\n'\nexit 0\n"

// sessions are what a job asks of its worker, over one connection, in the order
// in which it does.
var sessions = []struct{ name, command, input string }{
	{"nothing", "true", ""},
	{"stage", "bash", stageScript},
	{"login shell", "bash --login -c true", ""},
	{"git", "git --version", ""},
	{"init and commit", "d=$(mktemp -d -p /var/tmp) && cd $d && git init -q . && echo a >a && git add a && " +
		"git -c user.name=a -c user.email=a@b commit -qm a && cd / && rm -rf $d", ""},
	{"sudo", "sudo -n true", ""},
	{"gitlab-runner", "! command -v gitlab-runner || gitlab-runner --version", ""},
}

// BenchmarkSession tells how long a job waits for what it asks of a fork that
// was ready before: for the connection, and for each session on it, the first
// time and every other time. Beside the time stands what of it QEMU spent on a
// processor, which is the same on a busy host. The fork is used at once, or left alone
// for a while before. Use -benchtime 3x: each is a fork.
func BenchmarkSession(b *testing.B) {
	f := newForks(b, "sessions")
	for _, idle := range []time.Duration{0, time.Minute} {
		b.Run("idle for "+idle.String(), func(b *testing.B) { benchmarkSession(b, f, idle) })
	}
}

func benchmarkSession(b *testing.B, f forks, idle time.Duration) {
	all := map[string][]float64{}
	for b.Loop() {
		w, err := f.start(b, 0)
		require.NoError(b, err)
		require.Equal(b, backend.Fork, w.How())
		time.Sleep(idle)
		pid := f.driver.of(w.ID()).process.PID
		for _, when := range []string{"first", "again", "again"} {
			askAll(b, w, pid, func(name string, took, worked time.Duration) {
				all[when+" "+name] = append(all[when+" "+name], float64(took.Milliseconds()))
				all[when+" "+name+" cpu"] = append(all[when+" "+name+" cpu"], float64(worked.Milliseconds()))
			})
		}
		f.remove(b, w.ID())
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		slices.Sort(all[name])
		b.ReportMetric(all[name][len(all[name])/2], "ms/"+strings.ReplaceAll(name, " ", "-"))
	}
}

// askAll opens a connection, and runs all sessions on it.
func askAll(b *testing.B, w backendtest.Worker, pid int, note func(name string, took, worked time.Duration)) {
	b.Helper()
	began, before := time.Now(), onProcessor(b, pid)
	lap := func(name string) {
		now, after := time.Now(), onProcessor(b, pid)
		note(name, now.Sub(began), after-before)
		began, before = now, after
	}
	client, err := w.Dial()
	require.NoError(b, err)
	defer client.Close()
	lap("connection")
	for _, s := range sessions {
		session, err := client.NewSession()
		require.NoError(b, err)
		session.Stdin = strings.NewReader(s.input)
		out, err := session.CombinedOutput(s.command)
		require.NoError(b, err, "%s: %s", s.command, out)
		_ = session.Close() // it has ended
		lap(s.name)
	}
}

// onProcessor is how long the threads of a process have run, see
// proc_pid_schedstat(5).
func onProcessor(b *testing.B, pid int) (sum time.Duration) {
	b.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	require.NoError(b, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		var ran time.Duration
		_, err = fmt.Sscan(string(text), &ran)
		require.NoError(b, err)
		sum += ran
	}
	return sum
}
