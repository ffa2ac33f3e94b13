package lines

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// widest bounds a line that Printable returns, in characters.
const widest = 300

// terminal matches what makes a terminal move, colour or rename: control
// sequences of ECMA-48, and strings for the system. Only whole ones are matched;
// an ESC that is left is escaped.
var terminal = regexp.MustCompile(`\x1b\[[0-9:;<=>?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[()][0-9A-Za-z]`)

// Printable is a line of a program that is not trusted, such as a guest's console,
// made fit for a terminal, a log and a table: sequences that steer a terminal are
// left out, all else that does not print is escaped as in Go, and what is longer
// than 300 characters is cut. A tab is a space.
func Printable(line string) string {
	if len(line) > 4*longest { // more than any cut needs
		line = line[:4*longest]
	}
	line = terminal.ReplaceAllString(strings.ToValidUTF8(line, "\uFFFD"), "")
	var clean strings.Builder
	width := 0
	for _, r := range strings.TrimRight(line, " \t\r\n\x00") {
		if width++; width > widest {
			return clean.String() + " …"
		}
		switch {
		case r == '\t':
			clean.WriteByte(' ')
		case unicode.IsGraphic(r):
			clean.WriteRune(r)
		default:
			clean.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return clean.String()
}

// First is the first line of a text, as Printable has it: what follows it is often the end
// of a console.
func First(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return Printable(line)
}

// End returns the lines in the last so many bytes of a file that a program wrote
// that is not trusted, each as Printable has it, without blank ones. A carriage
// return ends a line too. The first line is left out where it may have begun before.
func End(path string, most int64) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	begin := max(0, info.Size()-most)
	text, err := io.ReadAll(io.NewSectionReader(file, begin, most))
	if err != nil {
		return nil, fmt.Errorf("reading the end of %s: %w", path, err)
	}
	return split(text, begin > 0), nil
}

// Text is what a program said that is not trusted, its lines as End has them, at
// most the last twenty.
func Text(said string) string {
	all := split([]byte(said), false)
	return strings.Join(all[max(0, len(all)-tailLines):], "\n")
}

// split also takes what a file holds that was cut while its writer went on: zeros
// at its beginning.
func split(text []byte, cut bool) (printable []string) {
	all := strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' || r == '\r' })
	if first, _ := utf8.DecodeRune(text); cut && len(all) > 1 && first != '\n' && first != 0 {
		all = all[1:]
	}
	for _, line := range all {
		if line = strings.TrimSpace(Printable(strings.TrimLeft(line, "\x00"))); line != "" {
			printable = append(printable, line)
		}
	}
	return printable
}

// How much Tail shows: so many last lines of so many last bytes.
const (
	tailLines = 20
	tailBytes = 8 << 10
)

// Tail is the end of a guest's console as the end of an error's text; nothing when
// there is none.
func Tail(path string) string {
	said, err := End(path, tailBytes)
	if err != nil || len(said) == 0 {
		return ""
	}
	return "\nlast lines of the console:\n  " + strings.Join(said[max(0, len(said)-tailLines):], "\n  ")
}
