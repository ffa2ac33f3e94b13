package doctor_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
)

func TestOnlyWhatIsWrongAndSafeIsFixed(t *testing.T) {
	safe := doctor.Finding{Level: doctor.Warning, What: "a", Command: "true", Safe: true}
	require.Equal(t, []doctor.Finding{safe}, doctor.Fixable([]doctor.Finding{
		{Level: doctor.OK, What: "in order", Command: "true", Safe: true},
		{Level: doctor.Missing, What: "not safe", Command: "rm -r /"},
		safe,
	}))
}

func TestFixRunsTheCommandThatIsShown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "it's done")
	t.Setenv("FILE", file)
	require.NoError(t, doctor.Finding{Command: `printf yes > "$FILE"`}.Fix(t.Context()))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "yes", string(text))

	err = doctor.Finding{What: "tun", Command: "echo no module; exit 3; echo never"}.Fix(t.Context())
	require.EqualError(t, err, "mending tun by `echo no module; exit 3; echo never`: exit status 3: no module")
}
