package claim

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// three is a stock of the numbers 1 to 3, of which some are busy.
func three(busy ...string) Stock {
	return Stock{
		Name: "three", Size: 3,
		After: func(name string) string {
			n, _ := strconv.Atoi(name)
			return strconv.Itoa(n%3 + 1)
		},
		Valid: func(name string) bool { _, err := strconv.Atoi(name); return err == nil },
		Busy: func(name string) bool {
			for _, b := range busy {
				if b == name {
					return true
				}
			}
			return false
		},
	}
}

func TestBusyOnesArePassedOver(t *testing.T) {
	dir := t.TempDir()
	book := New(dir, three("1", "3"))
	name, err := book.Take(t.Context(), "p/a")
	require.NoError(t, err)
	require.Equal(t, "2", name)
	_, err = book.Take(t.Context(), "p/b")
	require.ErrorIs(t, err, ErrNoneLeft)

	name, err = New(dir, three()).Take(t.Context(), "p/b")
	require.NoError(t, err)
	require.Equal(t, "3", name, "it follows the one given last")
	require.NoError(t, book.Give("p/a", []string{"3"}), "it is another's")
	owners, err := book.Owners()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"2": "p/a", "3": "p/b"}, owners)
}

func TestNobodyTakesForNobody(t *testing.T) {
	for _, owner := range []string{"", strings.Repeat("x", maxOwner+1)} {
		_, err := New(t.TempDir(), three()).Take(t.Context(), owner)
		require.ErrorContains(t, err, "has not 1 to 255 bytes")
	}
}
