//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/gitlab"
)

func TestPathHasTheFirstLineAndEachStage(t *testing.T) {
	taken := time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC)
	const trace = "2026-11-29T10:00:00.25Z 00O Dialing instance default-abc...\n" +
		"2026-11-29T10:00:00.75Z 00O Instance default-abc connected\n" +
		"2026-11-29T10:00:01Z 00O section_start:1:step_script\r\n" +
		"2026-11-29T10:00:02Z 01O $ echo began $(date +%s.%N)\n" +
		"2026-11-29T10:00:02Z 01O began 1795946401.500000000\n" +
		"2026-11-29T10:00:03Z 00O section_end:1:step_script\r\n"
	rows, err := pathRows(taken, gitlab.Outcome{Trace: trace})
	require.NoError(t, err)
	require.Equal(t, map[string]time.Duration{
		rowTaken: 250 * time.Millisecond, gitlab.Connecting: 500 * time.Millisecond,
		rowFirst: 1500 * time.Millisecond, "step_script": 2 * time.Second, rowWhole: 3 * time.Second,
	}, rows)

	var printed strings.Builder
	require.NoError(t, printTable(&printed, []column{{"qemu", map[string][]time.Duration{
		"step_script": {3 * time.Second, time.Second, 2 * time.Second},
	}}}))
	require.Regexp(t, `step_script +2\.00 \(1\.00, 3\.00\)`, printed.String())
	require.Regexp(t, `get_sources +-`, printed.String())

	_, err = pathRows(taken, gitlab.Outcome{})
	require.ErrorContains(t, err, "no stages")
}
