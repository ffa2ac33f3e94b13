package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/wiring"
)

func TestReportPrintsTheErrorBesideASilentOne(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"success":  {nil, ""},
		"silent":   {errSilent, ""},
		"an error": {errors.New("no host"), "fleeting-plugin-mayfly: no host\n"},
		"both":     {errors.Join(errors.New("no host"), errSilent), "fleeting-plugin-mayfly: no host\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			code := report(context.Background(), &stderr, test.err)
			require.Equal(t, test.want, stderr.String())
			require.Equal(t, test.err != nil, code != 0)
		})
	}
}

func TestLogHasEachTimeOnce(t *testing.T) {
	var out bytes.Buffer
	line := "2026-07-01T10:00:00.000Z [INFO]  try: worker runs: how=clone timestamp=2026-07-01T10:00:00.000Z\n"
	n, err := withoutTimestamps{&out}.Write([]byte(line))
	require.NoError(t, err)
	require.Equal(t, len(line), n)
	require.Equal(t, "2026-07-01T10:00:00.000Z [INFO]  try: worker runs: how=clone\n", out.String())
}

func TestLogSaysEachThingOnce(t *testing.T) {
	var out bytes.Buffer
	log := newStreams(nil, &out).log
	log.Info("nobody asked")
	log.Warn("no KVM", "reason", "none")
	log.Warn("no KVM", "reason", "none")
	log.Warn("no KVM", "reason", "another")
	require.Equal(t, "level=WARN msg=\"no KVM\" reason=none\nlevel=WARN msg=\"no KVM\" reason=another\n", out.String())
}

func TestListTellsBuildsFromWorkersAndMakesNothing(t *testing.T) {
	c := config.Default()
	c.StateDir = filepath.Join(t.TempDir(), "state")
	listed, _, err := listWorkers(wiring.Host(), c)
	require.NoError(t, err)
	require.Empty(t, listed)
	require.NoDirExists(t, c.StateDir)

	records, err := store.Open(c.PoolDir())
	require.NoError(t, err)
	for _, id := range []string{"default-aaaaaaaa", "default-bbbbbbbb"} {
		_, err := records.Reserve(id)
		require.NoError(t, err)
	}
	require.NoError(t, os.WriteFile(filepath.Join(records.Dir("default-aaaaaaaa"), ".worker.json1"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(records.Dir("default-bbbbbbbb"), "console.log"), nil, 0o600))
	listed, _, err = listWorkers(wiring.Host(), c)
	require.NoError(t, err)
	require.Len(t, listed, 2)
	require.Equal(t, "creating", listed[0].State)
	require.Equal(t, "building", listed[1].State)
}

func TestClockThatWasSetBackMakesNoNegativeAge(t *testing.T) {
	records, err := store.Open(t.TempDir())
	require.NoError(t, err)
	for _, id := range []string{"default-aaaaaaaa", "default-bbbbbbbb"} {
		_, err := records.Reserve(id)
		require.NoError(t, err)
	}
	later := time.Now().Add(time.Hour)
	record := store.Record{ID: "default-aaaaaaaa", CreatedAt: later, ReadyAt: later.Add(-time.Minute)}
	require.NoError(t, records.Save(record))
	require.NoError(t, os.Chtimes(records.Dir("default-bbbbbbbb"), later, later))
	for _, id := range []string{"default-aaaaaaaa", "default-bbbbbbbb"} {
		worker, ok := describeWorker(records, id)
		require.True(t, ok)
		require.Zero(t, worker.AgeSeconds, id)
		require.Zero(t, worker.ReadySeconds, id)
	}
}
