//go:build linux

package netlinkdump

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

// interrupted is a list that changes spoil so many times.
func interrupted(times int, called *int) func() ([]string, error) {
	return func() ([]string, error) {
		if *called++; *called <= times {
			return []string{"half"}, fmt.Errorf("dumping: %w", netlink.ErrDumpInterrupted)
		}
		return []string{"all", "of", "it"}, nil
	}
}

func TestAListThatWasInterruptedIsAskedForAgain(t *testing.T) {
	called := 0
	items, err := repeat("things", interrupted(attempts-1, &called))
	require.NoError(t, err)
	require.Equal(t, []string{"all", "of", "it"}, items)
	require.Equal(t, attempts, called)
}

func TestAListThatIsAlwaysInterruptedIsAnError(t *testing.T) {
	called := 0
	items, err := repeat("things", interrupted(attempts, &called))
	require.ErrorIs(t, err, netlink.ErrDumpInterrupted)
	require.ErrorContains(t, err, "listing things")
	require.Empty(t, items, "half a list is worse than none")
	require.Equal(t, attempts, called)
}

func TestOtherErrorsAreNotRepeated(t *testing.T) {
	called, broken := 0, errors.New("broken")
	_, err := repeat("things", func() ([]string, error) { called++; return nil, broken })
	require.ErrorIs(t, err, broken)
	require.Equal(t, 1, called)
}

func TestLinkList(t *testing.T) {
	links, err := LinkList()
	require.NoError(t, err)
	require.NotEmpty(t, links)
}
