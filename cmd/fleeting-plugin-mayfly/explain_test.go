package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// tell writes a pool's ledger, an event each second, and returns when the last one was.
func tell(t *testing.T, state string, began time.Time, events ...ledger.Event) time.Time {
	t.Helper()
	l, err := ledger.Open(filepath.Join(state, "pools", "builds", ledger.Dir))
	require.NoError(t, err)
	defer l.Close()
	for _, e := range events {
		e.At = began
		require.NoError(t, l.Write(e))
		began = began.Add(time.Second)
	}
	return began.Add(-time.Second)
}

// whole is a worker's life.
func whole(id string) []ledger.Event {
	return []ledger.Event{
		{Worker: id, Kind: ledger.Promised},
		{Worker: id, Kind: ledger.Entered, Phase: "wait_image"},
		{Worker: id, Kind: ledger.Entered, Phase: "start"},
		{Worker: id, Kind: ledger.Passed, Phase: "start.disk"},
		{Worker: id, Kind: ledger.Passed, Phase: "start.process"},
		{Worker: id, Kind: ledger.Passed, Phase: "start.process"},
		{Worker: id, Kind: ledger.Ready, Phase: "run", How: "fork", Image: "1234abcd"},
		{Worker: id, Kind: ledger.Worked, Job: &ledger.Job{
			ID: 4711, Project: "group/\x1b[2Jproject", Name: `"><script>`,
		}},
		{Worker: id, Kind: ledger.Failed, Phase: "teardown", Reason: "machine is gone: kernel panic"},
		{Worker: id, Kind: ledger.Used, Usage: &ledger.Usage{
			CPUSeconds: 1.25, PeakMemory: 512 << 20, BytesIn: 3 << 20, BytesOut: 1 << 20, DiskWritten: 20 << 20,
			Denied: 4, DeniedTo: []ledger.Denied{{Protocol: "tcp", To: "203.0.113.7:443", Packets: 3}},
		}},
		{Worker: id, Kind: ledger.Gone},
	}
}

const explained = `worker builds-aaaaaaaa of pool builds, failed, and gone

promised  TIME, AGO ago
ready     after 6.00s, as a fork of image 1234abcd
job       4711 of group/project, "\"><script>", seen at TIME; the guest says so
took      1.2s of processors, 512 MiB of memory, 3 MiB in, 1 MiB out, 20 MiB written
denied    4 packets: tcp 203.0.113.7:443 (3)

PHASE            SECONDS  SHARE  WHAT
wait_image       1.00     10%    waiting for the golden image
start            4.00     40%    starting the machine <- slowest
  start.disk     1.00     10%    
  start.process  2.00     20%    
run              2.00     20%    ready for jobs
teardown         2.00     20%    being removed
other            1.00     10%    what no phase accounts for
all              10.00

it ended: machine is gone: kernel panic
last lines of the console:
  all is lost
`

func TestExplainIsOneScreen(t *testing.T) {
	state := t.TempDir()
	began := time.Now().Add(-time.Hour).Truncate(time.Second)
	tell(t, state, began, whole("builds-aaaaaaaa")...)
	tell(t, state, began, ledger.Event{Worker: "builds-bbbbbbbb", Kind: ledger.Promised})
	records, err := store.Open(filepath.Join(state, "pools", "builds"))
	require.NoError(t, err)
	console := filepath.Join(t.TempDir(), "console.log")
	require.NoError(t, os.WriteFile(console, []byte("all is \x1b[31mlost\x1b[0m\n"), 0o600))
	require.NoError(t, records.KeepEnd(store.Ended{
		ID: "builds-aaaaaaaa", Reason: "machine is gone: kernel panic\nlast lines of the console:\n  all is lost",
	}, console))

	for _, what := range []string{"builds-aaaaaaaa", "4711"} {
		said := says(t, state, "explain", what)
		said = strings.ReplaceAll(said, began.Format(time.DateTime), "TIME")
		said = strings.ReplaceAll(said, began.Add(7*time.Second).Format(time.TimeOnly), "TIME")
		said = replaceAll(t, said, `TIME, \S+ ago`, "TIME, AGO ago")
		require.Equal(t, explained, said)
	}

	var document explanation
	require.NoError(t, json.Unmarshal([]byte(says(t, state, "explain", "--json", "4711")), &document))
	require.Equal(t, "start", document.Slowest)
	sum := 0.0
	for _, p := range document.Phases {
		if !p.Part {
			sum += p.Seconds
		}
	}
	require.InDelta(t, document.TotalSeconds, sum, 1e-9)
	require.Equal(t, int64(4711), document.Jobs[0].ID)
}

func TestExplainKnowsNobody(t *testing.T) {
	var stdout, stderr bytes.Buffer
	args := []string{"explain", "4711", "--backend", "synthetic", "--state-dir", t.TempDir()}
	require.Equal(t, 1, run(t.Context(), args, &stdout, &stderr))
	require.Contains(t, stderr.String(), `no job of that number was seen`)
}

// TestAStuckStartIsExplained has a worker whose guest refuses every login.
func TestAStuckStartIsExplained(t *testing.T) {
	state := t.TempDir()
	const id, why = "builds-aaaaaaaa", "SSH at 10.210.0.2:22: connection refused"
	began := time.Now().Add(-30 * time.Second)
	tell(t, state, began,
		ledger.Event{Kind: ledger.Noted, Phase: "renewal", Reason: "it failed: building it: no mirror"},
		ledger.Event{Worker: id, Kind: ledger.Promised},
		ledger.Event{Worker: id, Kind: ledger.Entered, Phase: "ready"},
		ledger.Event{Worker: id, Kind: ledger.Waits, Reason: why})
	records, err := store.Open(filepath.Join(state, "pools", "builds"))
	require.NoError(t, err)
	dir, err := records.Reserve(id)
	require.NoError(t, err)
	require.NoError(t, records.Save(store.Record{ID: id, State: "creating", CreatedAt: began}))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "console.log"), []byte("Failed to start sshd\n"), 0o600))

	require.Regexp(t,
		`(?m)^builds-aaaaaaaa +creating .* ready for \d+s: `+why+`; console: Failed to start sshd$`, ps(t, state))
	said := says(t, state, "explain", id)
	require.Contains(t, said, "now in ready because: "+why)
	require.Regexp(t, `(?m)^renewal +it failed: building it: no mirror$`, said)
	require.Contains(t, said, "last lines of the console:\n  Failed to start sshd\n")
	require.Regexp(t, `(?m)^ready .*<- slowest`, said)
}

func TestPsShowsJobs(t *testing.T) {
	state := t.TempDir()
	records, err := store.Open(filepath.Join(state, "pools", "builds"))
	require.NoError(t, err)
	_, err = records.Reserve("builds-aaaaaaaa")
	require.NoError(t, err)
	began := time.Now().Add(-30 * time.Second)
	require.NoError(t, records.Save(store.Record{ID: "builds-aaaaaaaa", State: "running", CreatedAt: began}))
	tell(t, state, began, whole("builds-aaaaaaaa")[:8]...)
	require.Regexp(t, `(?m)^builds-aaaaaaaa +running .* 4711 *$`, ps(t, state))
}

func TestPsIsPrintedAgainAndAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lists := 0
	err := repeat(ctx, io.Discard, func() error {
		if lists++; lists == 2 {
			cancel()
		}
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 2, lists)
}

func TestEventsAreInOrder(t *testing.T) {
	state := t.TempDir()
	began := time.Now().Add(-time.Hour)
	tell(t, state, began, append(whole("builds-aaaaaaaa"), ledger.Event{
		Kind: ledger.Noted, Phase: "image", Reason: "image 1234abcd is there",
	})...)
	told := strings.Split(strings.TrimSpace(says(t, state, "events")), "\n")
	require.Len(t, told, 12)
	require.Regexp(t, `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} builds-aaaaaaaa promised$`, told[0])
	require.Regexp(t, ` builds-aaaaaaaa failed teardown: machine is gone: kernel panic$`, told[8])
	require.Regexp(t, ` pool builds noted image: image 1234abcd is there$`, told[11])
	require.Empty(t, says(t, state, "events", "--since", "10m"))

	for line := range strings.Lines(says(t, state, "events", "--json")) {
		var e poolEvent
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		require.Equal(t, "builds", e.Pool)
	}
}

// TestEventsAreFollowed has an event be written while somebody follows.
func TestEventsAreFollowed(t *testing.T) {
	state := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(state, "pools", "builds"), 0o700))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	from, to := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		args := []string{"events", "-f", "--since", "1h", "--backend", "synthetic", "--state-dir", state}
		ended <- run(ctx, args, to, io.Discard)
		to.Close()
	}()
	tell(t, state, time.Now(), ledger.Event{Worker: "builds-aaaaaaaa", Kind: ledger.Gone})
	line := make([]byte, 200)
	n, err := from.Read(line)
	require.NoError(t, err)
	require.Contains(t, string(line[:n]), "builds-aaaaaaaa gone")
	cancel()
	require.Equal(t, 130, <-ended)
}

func replaceAll(t *testing.T, text, pattern, by string) string {
	t.Helper()
	found := regexp.MustCompile(pattern)
	require.Regexp(t, found, text)
	return found.ReplaceAllString(text, by)
}
