package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgressIsABarOnATerminalAndLinesElsewhere(t *testing.T) {
	show := func(terminal bool) string {
		var to strings.Builder
		p := &progress{to: &to, began: time.Now(), terminal: terminal}
		p.report("download", "")
		for _, line := range []string{"10 % of 5.0 MB", "55 % of 5.0 MB, 1.0 MB fetched", "100 % of 5.0 MB"} {
			p.report("download", line)
		}
		p.report("disk", "")
		p.report("disk", "done")
		return to.String()
	}
	lines := show(false)
	require.Equal(t, 6, strings.Count(lines, "\n"), lines)
	require.Regexp(t, `(?m)^ +\d+\.\ds  55 % of 5.0 MB, 1.0 MB fetched$`, lines)

	bar := show(true)
	require.Equal(t, 4, strings.Count(bar, "\n"), "%q", bar)
	require.Contains(t, bar, "\r", "it is drawn in place")
	require.Contains(t, bar, "█")
	require.Contains(t, bar, "55 % of 5.0 MB, 1.0 MB fetched")
	require.Regexp(t, `(?m)^ +\d+\.\ds  == disk$`, bar)
}
