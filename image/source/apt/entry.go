// Package apt reads what a Debian or Ubuntu host has told its own apt: package
// sources and the way to them. From that it says what an image of the same
// distribution may be made of. It runs no apt and writes no file.
package apt

import (
	"slices"
	"strings"
)

// Entry is one package source. It has more than one URI, suite or component
// when the host wrote them together.
type Entry struct {
	URIs       []string
	Suites     []string
	Components []string
	Options    []Option
}

// Option is a field of an entry that changes how it is fetched or checked.
type Option struct{ Name, Value string }

// options are the ones that are kept, by their names in one-line style. What
// else there is (languages, targets, ...) matters to the host alone.
var options = map[string]string{
	"arch":              "Architectures",
	"signed-by":         "Signed-By",
	"trusted":           "Trusted",
	"check-valid-until": "Check-Valid-Until",
	"check-date":        "Check-Date",
}

// Render writes the entries in the deb822 style, which can hold a key that is
// given in full where the one-line style cannot.
func Render(entries []Entry) string {
	var text strings.Builder
	for i, entry := range entries {
		if i > 0 {
			text.WriteString("\n")
		}
		text.WriteString("Types: deb\n")
		text.WriteString("URIs: " + strings.Join(entry.URIs, " ") + "\n")
		text.WriteString("Suites: " + strings.Join(entry.Suites, " ") + "\n")
		text.WriteString("Components: " + strings.Join(entry.Components, " ") + "\n")
		for _, option := range entry.Options {
			text.WriteString(option.Name + ":" + spaced(option.Value) + "\n")
		}
	}
	return text.String()
}

// spaced puts a space before a value, unless it begins on the next line.
func spaced(value string) string {
	if strings.HasPrefix(value, "\n") {
		return value
	}
	return " " + value
}

// only returns those values that are in allowed, in their own order.
func only(values, allowed []string) []string {
	var kept []string
	for _, value := range values {
		if slices.Contains(allowed, value) {
			kept = append(kept, value)
		}
	}
	return kept
}
