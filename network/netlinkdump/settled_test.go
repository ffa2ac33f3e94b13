//go:build linux

package netlinkdump

import (
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func addTable(t *testing.T, n int) {
	t.Helper()
	out, err := exec.Command("nft", "add", "table", "inet", fmt.Sprintf("t%d", n)).CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestSettledReadsAgainWhatChangedMeanwhile(t *testing.T) {
	sandbox.EmptyNamespace(t, "nft")
	tries := 0
	got, err := Settled(func() (int, error) {
		if tries++; tries <= 3 {
			addTable(t, tries)
			return 0, errors.New("a chain is gone")
		}
		return tries, nil
	})
	require.NoError(t, err)
	require.Equal(t, 4, got)
}

func TestSettledGivesUp(t *testing.T) {
	sandbox.EmptyNamespace(t, "nft")
	tries := 0
	_, err := Settled(func() (int, error) {
		tries++
		addTable(t, tries)
		return tries, nil
	})
	require.ErrorIs(t, err, ErrChanging)
	require.Equal(t, attempts, tries)
}

func TestSettledDoesNotHideErrors(t *testing.T) {
	sandbox.EmptyNamespace(t, "nft")
	tries := 0
	_, err := Settled(func() (int, error) { tries++; return 0, errors.New("broken") })
	require.EqualError(t, err, "broken")
	require.Equal(t, 1, tries)
}
