package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

var nullLogger = hclog.NewNullLogger()

// logged runs log with a logger of the level and returns what reaches the
// runner: one JSON object for each line.
func logged(t *testing.T, level hclog.Level, log func(*slog.Logger)) []map[string]any {
	t.Helper()
	var out bytes.Buffer
	log(slog.New(handler{logger: hclog.New(&hclog.LoggerOptions{Level: level, Output: &out, JSONFormat: true})}))
	var lines []map[string]any
	for decoder := json.NewDecoder(&out); decoder.More(); {
		var line map[string]any
		require.NoError(t, decoder.Decode(&line))
		delete(line, "@timestamp")
		lines = append(lines, line)
	}
	return lines
}

func TestLevelsReachTheRunner(t *testing.T) {
	all := func(log *slog.Logger) {
		for _, level := range []slog.Level{
			slog.LevelDebug - 4, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError,
		} {
			log.Log(t.Context(), level, "said")
		}
	}
	var levels []any
	for _, line := range logged(t, hclog.Trace, all) {
		levels = append(levels, line["@level"])
	}
	require.Equal(t, []any{"trace", "debug", "info", "warn", "error"}, levels)
	require.Len(t, logged(t, hclog.Warn, all), 2)
}

func TestFieldsReachTheRunner(t *testing.T) {
	lines := logged(t, hclog.Info, func(log *slog.Logger) {
		log.With("worker", "a-1").WithGroup("start").With("try", 2).Info("said",
			"err", fmt.Errorf("booting: %w", errors.New("no disk")),
			"again_in", 1500*time.Millisecond,
			slog.Group("lease", "address", "10.0.0.2"),
			slog.Attr{},
			"phases", map[string]float64{"start": 1.5},
		)
		log.Warn("alone")
	})
	require.Equal(t, []map[string]any{
		{
			"@level": "info", "@message": "said",
			"worker": "a-1", "start.try": 2.0, "start.err": "booting: no disk", "start.again_in": "1.5s",
			"start.lease.address": "10.0.0.2", "start.phases": map[string]any{"start": 1.5},
		},
		{"@level": "warn", "@message": "alone"},
	}, lines)
}
