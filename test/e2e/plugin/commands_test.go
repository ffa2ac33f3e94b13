package plugin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// Each file in testdata is a session at a shell. `mayfly` there is the built
// program, $STATE a fresh state directory.
func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			state, err := os.MkdirTemp("", "mayfly-")
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(state) })
			env.Setenv("STATE", state)
			env.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
			"tried": tried,
		},
	})
}

// exits runs the program and compares its exit code: `exits 2 try --jobs x`.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(testrun.ProgramName, args[1:]...)
	got := "0"
	if err != nil {
		got = err.Error()
	}
	if want := args[0]; got != want && got != "exit status "+want {
		ts.Fatalf("%v: %s, want %s", args[1:], got, want)
	}
}

// tried checks the document that `try --json` has just printed: three jobs,
// each on a worker of its own, that all said hi.
func tried(ts *testscript.TestScript, _ bool, _ []string) {
	outcome, err := runner.ParseOutcome([]byte(ts.ReadFile("stdout")))
	ts.Check(err)
	var t failer = func(format string, args ...any) { ts.Fatalf(format, args...) }
	require.Equal(t, "synthetic", outcome.Backend)
	require.Empty(t, outcome.LeftOver)
	require.Len(t, outcome.Jobs, 3)
	workers := make(map[string]bool)
	for _, job := range outcome.Jobs {
		require.Equal(t, "hi\n", job.Stdout)
		require.Equal(t, "clone", job.How)
		workers[job.Worker] = true
	}
	require.Len(t, workers, 3)
	for worker := range workers {
		explained(ts, t, worker)
	}
}

// explained has the program explain a worker that is gone: its phases add up.
func explained(ts *testscript.TestScript, t failer, worker string) {
	ts.Check(ts.Exec(testrun.ProgramName, "explain", "--json", "--state-dir", ts.Getenv("STATE"), worker))
	var e struct {
		TotalSeconds float64   `json:"total_seconds"`
		GoneAt       time.Time `json:"gone_at"`
		Phases       []struct {
			Name    string
			Seconds float64
			Part    bool
		}
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &e))
	sum, other := 0.0, 0.0
	for _, p := range e.Phases {
		if p.Name == "other" {
			other = p.Seconds
		} else if !p.Part {
			sum += p.Seconds
		}
	}
	require.False(t, e.GoneAt.IsZero())
	require.Positive(t, sum)
	require.InDelta(t, e.TotalSeconds, sum+other, 1e-6)
}

// failer lets require end a script.
type failer func(format string, args ...any)

func (f failer) Errorf(format string, args ...any) { f(format, args...) }
func (f failer) FailNow()                          {}
