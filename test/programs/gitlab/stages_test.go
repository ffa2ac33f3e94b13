package gitlab

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// trace is a runner's: sections begin and end in the middle of lines, and may
// lie in each other.
const trace = "2026-11-29T10:00:00.100000Z 00O Running with gitlab-runner\n" +
	"2026-11-29T10:00:00.200000Z 00O section_start:1796090400:prepare_executor\r\x1b[0K\n" +
	"2026-11-29T10:00:00.200000Z 00O+Preparing the \"instance\" executor\n" +
	"2026-11-29T10:00:00.300000Z 00O Dialing instance default-abc...\n" +
	"2026-11-29T10:00:00.800000Z 00O Instance default-abc connected\n" +
	"2026-11-29T10:00:00.900000Z 00O section_end:1796090400:prepare_executor\r\x1b[0Ksection_start:1796090400:step_script\r\x1b[0K\n" +
	"2026-11-29T10:00:02.900000Z 01O $ echo section\n" +
	"2026-11-29T10:00:03.000000Z 00O section_end:1796090403:step_script\r\x1b[0K\n"

func TestStagesHaveTheTimesOfTheTrace(t *testing.T) {
	stages, err := Stages(trace)
	require.NoError(t, err)
	took := map[string]time.Duration{}
	var names []string
	for _, stage := range stages {
		names = append(names, stage.Name)
		took[stage.Name] = stage.Took()
	}
	require.Equal(t, []string{Connecting, "prepare_executor", "step_script"}, names)
	require.Equal(t, map[string]time.Duration{
		Connecting: 500 * time.Millisecond, "prepare_executor": 700 * time.Millisecond,
		"step_script": 2100 * time.Millisecond,
	}, took)
}

func TestTracesWithoutTimesHaveNoStages(t *testing.T) {
	_, err := Stages("00O Running with gitlab-runner\n")
	require.ErrorContains(t, err, "has no time")
	_, err = Stages("2026-11-29T10:00:00.1Z 00O section_end:1796090400:step_script\r\n")
	require.ErrorContains(t, err, "without a begin")
}
