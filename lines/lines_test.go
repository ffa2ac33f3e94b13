package lines

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// show writes the parts, and returns the lines that were shown.
func show(t *testing.T, parts ...string) (shown []string, quote string) {
	t.Helper()
	w := New(func(line string) { shown = append(shown, line) })
	for _, part := range parts {
		n, err := w.Write([]byte(part))
		require.NoError(t, err)
		require.Equal(t, len(part), n)
	}
	quote = w.Quote()
	return shown, quote
}

func TestPartsBecomeLines(t *testing.T) {
	shown, quote := show(t, "I: dow", "nloading\n10%\r20%\r\n\n  \n", "caf\xe9 \nend")
	require.Equal(t, []string{"I: downloading", "10%", "20%", "caf�", "end"}, shown)
	require.Equal(t, "; last lines:\n  "+strings.Join(shown, "\n  "), quote)
}

func TestOnlyTheLastLinesAreKept(t *testing.T) {
	var parts []string
	for i := range 2 * kept {
		parts = append(parts, fmt.Sprintf("line %d\n", i))
	}
	shown, quote := show(t, parts...)
	require.Len(t, shown, 2*kept)
	require.NotContains(t, quote, "line 19\n")
	require.Contains(t, quote, "line 20\n")
	require.True(t, strings.HasSuffix(quote, "line 39"))
}

func TestNothingIsNotQuoted(t *testing.T) {
	_, quote := show(t, "\n", " ")
	require.Empty(t, quote)
}

func TestLongLineIsCutAndWhole(t *testing.T) {
	long := strings.Repeat("x", 3*longest+7)
	for name, parts := range map[string][]string{
		"at once, with an end": {long + "\n"},
		"without an end":       {long},
		"in pieces":            {long[:longest-1], long[longest-1 : longest+1], long[longest+1:] + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			shown, _ := show(t, parts...)
			for _, line := range shown {
				require.LessOrEqual(t, len(line), longest)
			}
			require.Equal(t, long, strings.Join(shown, ""))
		})
	}
}

func TestFirstLeavesOutWhatFollows(t *testing.T) {
	for text, want := range map[string]string{"": "", "a": "a", "a\x1b[31m b\nconsole": "a b", "\nb": ""} {
		require.Equal(t, want, First(text), "%q", text)
	}
}
