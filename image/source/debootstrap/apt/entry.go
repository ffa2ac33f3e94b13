// Package apt reads the settings of a Debian or Ubuntu host's own apt: package
// sources, and how its mirrors are reached. From them it says what an image of
// the same distribution may be made of. It runs no program and writes no file.
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

// SignedBy is the option that names the keys of an entry.
const SignedBy = "Signed-By"

// options are the ones that are kept: names in one-line style to names in deb822
// style. All others (languages, targets, ...) matter to the host alone.
var options = map[string]string{
	"arch":              "Architectures",
	"signed-by":         SignedBy,
	"trusted":           "Trusted",
	"check-valid-until": "Check-Valid-Until",
	"check-date":        "Check-Date",
}

// Render writes the entries in deb822 style. Unlike one-line style, that can
// hold a key that is given in full.
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
			separator := ": "
			if strings.HasPrefix(option.Value, "\n") { // the value begins on the next line
				separator = ":"
			}
			text.WriteString(option.Name + separator + option.Value + "\n")
		}
	}
	return text.String()
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
