package main

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALogIsMadeFitForATerminal(t *testing.T) {
	var shown []string
	to := &entries{show: func(e entry) {
		require.Contains(t, []string{"p-aaaaaaaa", ""}, e.worker())
		shown = append(shown, e.text("p"))
	}}
	logger := slog.New(slog.NewJSONHandler(to, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	logger.Info("worker runs", "worker", "p-aaaaaaaa", "tries", 2)
	logger.Error("worker failed", "worker", "p-aaaaaaaa", "err", "it said \x1b[2J\nlast lines:\n  \x1b]0;x\x07panic")
	for _, part := range []string{
		`{"time":"no time","level":"WARN","msg":"in `, `pieces"}`, "\nnot JSON\x07\n", "no end",
	} {
		_, err := to.Write([]byte(part))
		require.NoError(t, err)
	}
	require.Equal(t, []string{
		"INFO p: worker runs tries=2 worker=p-aaaaaaaa",
		"ERROR p: worker failed err=it said worker=p-aaaaaaaa\n    last lines:\n      panic",
		"WARN p: in pieces",
		`- p: not JSON\a`,
	}, shown)
}
