package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// ps runs the command on a state directory.
func ps(t *testing.T, state string, flags ...string) string {
	t.Helper()
	return says(t, state, append([]string{"ps"}, flags...)...)
}

func says(t *testing.T, state string, command ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args := append(command, "--backend", "synthetic", "--state-dir", state)
	require.Zero(t, run(t.Context(), args, &stdout, &stderr), stderr.String())
	return stdout.String()
}

func TestPsShowsWhatEndedUnasked(t *testing.T) {
	state := t.TempDir()
	records, err := store.Open(filepath.Join(state, "pools", "builds"))
	require.NoError(t, err)
	console := filepath.Join(t.TempDir(), "console.log")
	require.NoError(t, os.WriteFile(console, []byte("all is \x1b[31mlost\x1b[0m\n"), 0o600))
	began := time.Now().Add(-time.Hour)
	end := store.Ended{
		ID: "builds-aaaaaaaa", Reason: "machine is gone: kernel panic: x\nlast lines of the console:\n  all is lost", How: "fork",
		ImageDigest: "d", CreatedAt: began, ReadyAt: began.Add(time.Second), EndedAt: began.Add(31 * time.Second),
	}
	require.NoError(t, records.KeepEnd(end, console))
	require.NoError(t, records.KeepEnd(store.Ended{ID: "builds-bbbbbbbb", Reason: "never ready", EndedAt: time.Now()}, ""))

	table := ps(t, state, "--ended")
	require.Regexp(t, `(?m)^builds-aaaaaaaa +.* +fork +30s +machine is gone: kernel panic: x +.*builds-aaaaaaaa.console$`, table)
	require.Regexp(t, `(?m)^builds-bbbbbbbb +.* +- +- +never ready +-$`, table)
	var listed []endedWorker
	require.NoError(t, json.Unmarshal([]byte(ps(t, state, "--ended", "--json")), &listed))
	require.Len(t, listed, 2)
	require.Equal(t, end.Reason, listed[0].Reason)
	require.Equal(t, "builds", listed[0].Pool)
	require.True(t, end.EndedAt.Equal(listed[0].EndedAt))
	said, err := os.ReadFile(listed[0].Console)
	require.NoError(t, err)
	require.Equal(t, "all is lost\n", string(said))
	require.Equal(t, "[]\n", ps(t, t.TempDir(), "--ended", "--json"))
}

func TestPsShowsAnImageThatIsSpared(t *testing.T) {
	state := t.TempDir()
	records, err := store.Open(filepath.Join(state, "pools", "builds"))
	require.NoError(t, err)
	_, err = records.Reserve("builds-aaaaaaaa")
	require.NoError(t, err)
	spared := store.Breaker{ImageDigest: "d1", Failures: 5, Reason: "no answer", NextTry: time.Now()}
	require.NoError(t, records.SaveBreaker(spared))
	const why = "image d1: all of the last 5 workers failed, and none has been ready: no answer; next try at "
	table := ps(t, state)
	require.Regexp(t, `(?m)^builds-aaaaaaaa +creating .*`+why, table)
	require.Regexp(t, `(?m)^pool builds: `+why, table)
	var listed []listedWorker
	require.NoError(t, json.Unmarshal([]byte(ps(t, state, "--json")), &listed))
	require.Contains(t, listed[0].Reason, why)
	require.NoError(t, records.ClearBreaker())
	require.NotContains(t, ps(t, state), "d1")

	newer := filepath.Join(state, "pools", "builds", store.BreakerFile)
	require.NoError(t, os.WriteFile(newer, []byte(`{"version": 99}`), 0o600))
	table = ps(t, state)
	require.Regexp(t, `(?m)^builds-aaaaaaaa +creating `, table, "nothing hides the workers")
	require.Regexp(t, `(?m)^pool builds: reading which image is spared: version is 99, not `, table)
	require.Contains(t, ps(t, state, "--json"), "builds-aaaaaaaa")
}

func TestWhatIsNotRenewedShows(t *testing.T) {
	state := t.TempDir()
	golden, err := cache.New(filepath.Join(state, "images")).Build(t.Context(),
		image.Recipe{User: "mayfly", Edition: "old"},
		func(context.Context, string) (string, error) { return "", nil })
	require.NoError(t, err)
	records, err := store.Open(filepath.Join(state, "pools", "builds"))
	require.NoError(t, err)
	require.NoError(t, records.SaveServed(store.Served{ImageDigest: golden.Digest, Failed: &store.FailedRenewal{
		Edition: "new", Failures: 3, Reason: "no mirror", NextTry: time.Now(),
	}}))
	const why = "it is served on, since making its edition of new failed 3 times in a row: no mirror; next try at "
	require.Regexp(t, `(?m)^pool builds: image `+golden.Digest+": "+why, ps(t, state))
	require.Regexp(t, `(?m)^image `+golden.Digest+", pool builds: "+why, says(t, state, "image", "list"))
	var listed []listedImage
	require.NoError(t, json.Unmarshal([]byte(says(t, state, "image", "list", "--json")), &listed))
	require.Len(t, listed, 1)
	require.Equal(t, "old", listed[0].Edition)
	require.Len(t, listed[0].FailedRenewals, 1)

	require.NoError(t, os.WriteFile(filepath.Join(state, "pools", "builds", store.ServedFile), []byte("{"), 0o600))
	require.Contains(t, ps(t, state), "pool builds: reading which image is served: ")
}
