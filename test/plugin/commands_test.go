package plugin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
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
	err := ts.Exec(program, args[1:]...)
	got := "0"
	if err != nil {
		got = err.Error()
	}
	if want := args[0]; got != want && got != "exit status "+want {
		ts.Fatalf("%v: %s, want %s", args[1:], got, want)
	}
}

// tried checks the document that `try --json` has just printed for its shape
// and for three jobs that all said hi.
func tried(ts *testscript.TestScript, _ bool, _ []string) {
	var document map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &document))
	var t failer = func(format string, args ...any) { ts.Fatalf(format, args...) }
	require.ElementsMatch(t, []string{"backend", "acceleration", "image", "jobs", "left_over"}, keys(document))
	require.Equal(t, "synthetic", document["backend"])
	require.Equal(t, []any{}, document["left_over"])
	require.ElementsMatch(t, []string{"digest", "built_seconds"}, keys(document["image"].(map[string]any)))
	jobs := document["jobs"].([]any)
	require.Len(t, jobs, 3)
	workers := make(map[any]bool)
	for _, one := range jobs {
		job := one.(map[string]any)
		require.ElementsMatch(t, []string{"worker", "how", "ready_seconds", "exit_code", "stdout", "stderr"}, keys(job))
		require.Equal(t, "hi\n", job["stdout"])
		require.Equal(t, "clone", job["how"])
		workers[job["worker"]] = true
	}
	require.Len(t, workers, 3)
}

// failer lets require end a script.
type failer func(format string, args ...any)

func (f failer) Errorf(format string, args ...any) { f(format, args...) }
func (f failer) FailNow()                          {}

func keys(object map[string]any) []string {
	var names []string
	for name := range object {
		names = append(names, name)
	}
	return names
}
