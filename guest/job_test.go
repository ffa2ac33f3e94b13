package guest

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// environment is one as the kernel shows it.
func environment(variables ...string) string { return strings.Join(variables, "\x00") + "\x00" }

// processes makes a directory like /proc.
func processes(t *testing.T, environments map[int]string) (proc string) {
	t.Helper()
	proc = t.TempDir()
	for pid, text := range environments {
		dir := filepath.Join(proc, strconv.Itoa(pid))
		require.NoError(t, os.Mkdir(dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "environ"), []byte(text), 0o600))
	}
	return proc
}

func TestTheJobIsFoundInTheEnvironment(t *testing.T) {
	proc := processes(t, map[int]string{
		1:  environment("PATH=/bin"),
		20: environment("CI_JOB_ID=6", "CI_PROJECT_PATH=other"),
		300: environment("HOME=/", "CI_JOB_ID=7", "CI_PROJECT_PATH=group/project", "CI_JOB_NAME=build: [a]",
			"CI_JOB_IDS=8"),
		400: "",
		401: environment("CI_JOB_ID=none"),
		402: environment("CI_JOB_ID=-1"),
		403: "CI_JOB_ID",
	})
	job, ok := FindJob(proc, []int{403, 402, 401, 400, 399, 300, 20, 1})
	require.True(t, ok)
	require.Equal(t, Job{ID: 7, Project: "group/project", Name: "build: [a]"}, job, "the first one that says a job")
	_, ok = FindJob(proc, []int{1, 400})
	require.False(t, ok)
	_, ok = FindJob(proc, nil)
	require.False(t, ok)
}

func TestALongNameIsCut(t *testing.T) {
	proc := processes(t, map[int]string{1: environment("CI_JOB_ID=7", "CI_JOB_NAME="+strings.Repeat("ä", 1000))})
	job, ok := FindJob(proc, []int{1})
	require.True(t, ok)
	require.Equal(t, strings.Repeat("ä", 127), job.Name)
}

func TestTheAgentIsAskedForTheJob(t *testing.T) {
	for said, want := range map[string]struct {
		job  Job
		seen bool
		err  string
	}{
		"":                         {},
		`{"id":7,"project":"a/b"}`: {job: Job{ID: 7, Project: "a/b"}, seen: true},
		`{"id":0}`:                 {err: "0 is no job"},
		`{"id":7,"key":"value"}`:   {err: "unknown field"},
		`{"id":7}{"id":8}`:         {err: "not a message"},
		`{"id":7,"name":"` + strings.Repeat("x", 300) + `"}`: {err: "longer than 255 bytes"},
	} {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			var request Request
			if NewReader(theirs).Read(&request) != nil || request.Op != OpJob || request.Validate() != nil {
				return
			}
			_ = Write(theirs, Event{Version: Version, ID: request.ID, Output: []byte(said), Done: true})
		}()
		job, seen, err := NewClient(ours).Job(t.Context())
		ours.Close()
		if want.err != "" {
			require.ErrorContains(t, err, want.err, said)
			continue
		}
		require.NoError(t, err, said)
		require.Equal(t, want.seen, seen)
		require.Equal(t, want.job, job)
	}
}

// FuzzJob has a guest write what it likes into environments and answers.
func FuzzJob(f *testing.F) {
	f.Add([]byte(environment("CI_JOB_ID=7", "CI_JOB_NAME=\xff\x1b[2J")))
	f.Add([]byte(`{"id":7,"name":"x"}`))
	f.Fuzz(func(t *testing.T, said []byte) {
		if job, ok := jobOf(said); ok {
			require.NoError(t, job.validate())
			require.True(t, utf8.ValidString(job.Project) && utf8.ValidString(job.Name))
			text, err := job.Encode()
			require.NoError(t, err)
			again, seen, err := decodeJob(text)
			require.NoError(t, err)
			require.True(t, seen)
			require.Equal(t, job, again)
		}
		if job, ok, err := decodeJob(said); ok || err == nil && len(said) > 0 {
			require.NoError(t, job.validate())
		}
	})
}
