package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing wrong in a configuration.
type Mistake struct {
	// Path is the dotted path of the key, beginning with "plugin_config" or, for
	// what is none of that, as the runner has it.
	Path string `json:"path"`
	// Text says what is wrong and how to mend it, on one line.
	Text string `json:"text"`
}

// String is the mistake on one line.
func (m Mistake) String() string { return m.Path + ": " + m.Text }

// Errors are all mistakes of one configuration, ordered by path.
type Errors []Mistake

var _ error = Errors(nil)

// Error has one line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, mistake := range e {
		lines[i] = mistake.String()
	}
	return strings.Join(lines, "\n")
}

func (e *Errors) add(path, format string, args ...any) {
	*e = append(*e, Mistake{Path: path, Text: fmt.Sprintf(format, args...)})
}

// err is e in its lasting order, or nil when there is no mistake.
func (e Errors) err() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b Mistake) int { return cmp.Compare(a.Path, b.Path) })
	return e
}
