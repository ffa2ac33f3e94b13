package apt

import (
	"fmt"
	"slices"
	"strings"
)

// parseDeb822 reads a file of stanzas. Disabled ones and those of source
// packages only are left out.
func parseDeb822(text string) []Entry {
	var entries []Entry
	var stanza []Option
	finish := func() {
		if entry, ok := fromStanza(stanza); ok {
			entries = append(entries, entry)
		}
		stanza = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		switch {
		case strings.HasPrefix(line, "#"):
		case line == "":
			finish()
		case line[0] == ' ' || line[0] == '\t': // more of the field before it
			if last := len(stanza) - 1; last >= 0 {
				stanza[last].Value += "\n" + line
			}
		default:
			name, value, _ := strings.Cut(line, ":")
			stanza = append(stanza, Option{name, strings.TrimSpace(value)})
		}
	}
	finish()
	return entries
}

func fromStanza(stanza []Option) (Entry, bool) {
	var entry Entry
	var types []string
	enabled := true
	for _, field := range stanza {
		words := strings.Fields(field.Value)
		switch strings.ToLower(field.Name) {
		case "types":
			types = words
		case "uris":
			entry.URIs = words
		case "suites":
			entry.Suites = words
		case "components":
			entry.Components = words
		case "enabled":
			off := []string{"no", "false", "0", "off", "without", "disable"}
			enabled = !slices.Contains(off, strings.ToLower(field.Value))
		default:
			for _, kept := range options {
				if strings.EqualFold(kept, field.Name) {
					entry.Options = append(entry.Options, Option{kept, field.Value})
				}
			}
		}
	}
	return entry, enabled && slices.Contains(types, "deb")
}

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

// ParseLine reads one entry in one-line style, of binary packages.
func ParseLine(line string) (Entry, error) {
	entries, err := parseList(line)
	if err != nil {
		return Entry{}, err
	}
	if len(entries) != 1 {
		return Entry{}, fmt.Errorf("want one line that begins with deb: %q", line)
	}
	return entries[0], nil
}

func parseLine(line string) (Entry, error) {
	var entry Entry
	if inside, ok := strings.CutPrefix(line, "["); ok {
		list, rest, closed := strings.Cut(inside, "]")
		if !closed {
			return Entry{}, fmt.Errorf("options without an end: %q", line)
		}
		for _, word := range strings.Fields(list) {
			name, value, _ := strings.Cut(word, "=")
			if field, ok := options[strings.ToLower(name)]; ok {
				entry.Options = append(entry.Options, Option{field, strings.ReplaceAll(value, ",", " ")})
			}
		}
		line = rest
	}
	words := strings.Fields(line)
	if len(words) < 2 {
		return Entry{}, fmt.Errorf("want a URI and a suite: %q", line)
	}
	entry.URIs, entry.Suites, entry.Components = words[:1], words[1:2], words[2:]
	return entry, nil
}
