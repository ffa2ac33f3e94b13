package lines

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestWhatAGuestSaysIsMadePrintable(t *testing.T) {
	for said, shown := range map[string]string{
		"plain text, ä and 漢":             "plain text, ä and 漢",
		"\x1b[0;32m  OK  \x1b[0m started": "  OK   started",
		"\x1b]0;rm -rf /\x07title":        "title",
		"\x1b]0;no end":                   `\x1b]0;no end`,
		"bell\a back\b\x00 nul":           `bell\a back\b\x00 nul`,
		"a\tb":                            "a b",
		"caf\xe9":                         "caf\uFFFD",
		"right to left \u202e override":   `right to left \u202e override`,
		"end \r\n":                        "end",
		"c1 \u009b31m control":            `c1 \u009b31m control`,
		"\x1b[31;1":                       `\x1b[31;1`,
		"two\nlines":                      `two\nlines`,
		strings.Repeat("x", 2*widest):     strings.Repeat("x", widest) + " …",
		strings.Repeat("\x1b[1m", 5*longest) + "hidden": "",
	} {
		require.Equal(t, shown, Printable(said), "%.40q", said)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\x1b[31mred\x1b[0m\r\n\x00\xff\u202e")
	f.Add(strings.Repeat("\x1b[", 100))
	f.Fuzz(func(t *testing.T, said string) {
		shown := Printable(said)
		require.True(t, utf8.ValidString(shown))
		require.LessOrEqual(t, utf8.RuneCountInString(shown), 10*widest+2)
		for _, r := range shown {
			require.True(t, unicode.IsGraphic(r), "%q shows %q", said, r)
		}
	})
}

func TestTheEndOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	end := func(most int64) []string {
		found, err := End(path, most)
		require.NoError(t, err)
		return found
	}
	write("one\r\n\n10%\r20%\rtwo")
	require.Equal(t, []string{"one", "10%", "20%", "two"}, end(1000))
	require.Equal(t, []string{"20%", "two"}, end(9), "1 of 10% is left out")
	write(string(bytes.Repeat([]byte{0}, 5000)) + "after\nthe cut\n")
	require.Equal(t, []string{"after", "the cut"}, end(100))
	write("")
	require.Empty(t, end(100))
	write(strings.Repeat("y", 1000))
	require.Len(t, end(100), 1, "a line without an end is better than none")
	_, err := End(filepath.Join(t.TempDir(), "none"), 100)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestWhatAGuestWritesIsQuotedWithoutHarm has a line that would clear the screen
// of whoever reads the log, and one that is too long for it.
func TestWhatAGuestWritesIsQuotedWithoutHarm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	said := "\x1b[2J\x1b[Hcleared\a\n" + strings.Repeat("long", 1000) + "\n"
	require.NoError(t, os.WriteFile(path, []byte(said), 0o600))
	tail := Tail(path)
	require.Contains(t, tail, `cleared\a`)
	require.NotContains(t, tail, "\x1b")
	require.Less(t, len(tail), 1000)
	require.Empty(t, Tail(path+".none"))
}
