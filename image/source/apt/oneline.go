package apt

import (
	"fmt"
	"strings"
)

// parseList reads a file in one-line style. Sources of source packages are
// left out.
func parseList(text string) ([]Entry, error) {
	var entries []Entry
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		kind, rest, _ := strings.Cut(strings.Join(strings.Fields(line), " "), " ")
		if kind != "deb" {
			continue
		}
		entry, err := parseLine(rest)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

func parseLine(line string) (Entry, error) {
	var entry Entry
	if inside, ok := strings.CutPrefix(line, "["); ok {
		list, rest, closed := strings.Cut(inside, "]")
		if !closed {
			return Entry{}, fmt.Errorf("options without an end: %q", line)
		}
		entry.Options = parseOptions(list)
		line = rest
	}
	words := strings.Fields(line)
	if len(words) < 2 {
		return Entry{}, fmt.Errorf("want a URI and a suite: %q", line)
	}
	entry.URIs, entry.Suites, entry.Components = words[:1], words[1:2], words[2:]
	return entry, nil
}

func parseOptions(list string) []Option {
	var kept []Option
	for _, word := range strings.Fields(list) {
		name, value, _ := strings.Cut(word, "=")
		if field, ok := options[strings.ToLower(name)]; ok {
			kept = append(kept, Option{field, strings.ReplaceAll(value, ",", " ")})
		}
	}
	return kept
}
