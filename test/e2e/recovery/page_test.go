package recovery

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

//go:generate go test -count=1 -run ^TestPageIsWhatTheTableSays$ -update .

var update = flag.Bool("update", false, "write docs/reference/recovery.md anew")

const pageFile = "../../../docs/reference/recovery.md"

func TestPageIsWhatTheTableSays(t *testing.T) {
	if *update {
		require.NoError(t, os.WriteFile(pageFile, []byte(page()), 0o644))
	}
	text, err := os.ReadFile(pageFile)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(page(), string(text)), "run make generate")
}

// Every rule decides something, and every value of a pattern is one of its column.
func TestTableHasNoIdleRule(t *testing.T) {
	used := make(map[int]bool)
	for _, record := range columns[0].values {
		for _, c := range cells(record.name) {
			if canBeMade(c) {
				used[decide(c)] = true
			}
		}
	}
	require.Len(t, used, len(rules))
	known := make(map[string]map[string]bool)
	for _, column := range columns {
		known[column.name] = make(map[string]bool)
		for _, v := range column.values {
			known[column.name][v.name] = true
		}
	}
	check := func(of pattern) {
		for name, values := range of {
			for _, v := range values {
				require.True(t, known[name][v], "%s %s", name, v)
			}
		}
	}
	for _, r := range rules {
		check(r.of)
	}
	for _, n := range never {
		check(n.of)
	}
}
