package testrun

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestPaceIsTheTimeOfTheBoot(t *testing.T) {
	need.Programs(t, "mmdebstrap")
	t.Setenv(Variable, t.TempDir())
	first := fmt.Sprintf("== step 1 of %d\n", len(Steps))
	progress := "  0.0s  == packages\n 41.5s  == boot\n 41.6s  something\n100.0s  == cloud-init\n103.7s  " + first +
		"103.9s  == step 2 of 5\n"
	require.NoError(t, notePace(dir(t), progress))
	require.NoError(t, write(dir(t)+"/digest", "built"))
	require.Equal(t, 62200*time.Millisecond, Boot(t))
	require.Equal(t, 4*62200*time.Millisecond, Patience(t))

	require.NoError(t, notePace(dir(t), "  1.0s  == boot\n  2.0s  "+first))
	require.Equal(t, 2*time.Minute, Patience(t), "a fast machine's noise needs room too")
	require.ErrorContains(t, notePace(dir(t), "  1.0s  == boot\n"), "does not say")
}
