package apt

import (
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
		switch name := strings.ToLower(field.Name); name {
		case "types":
			types = words
		case "uris":
			entry.URIs = words
		case "suites":
			entry.Suites = words
		case "components":
			entry.Components = words
		case "enabled":
			enabled = !slices.Contains([]string{"no", "false", "0", "off", "without", "disable"}, strings.ToLower(field.Value))
		default:
			if kept, ok := keptField(name); ok {
				entry.Options = append(entry.Options, Option{kept, field.Value})
			}
		}
	}
	return entry, enabled && slices.Contains(types, "deb")
}

// keptField finds a field whose name is in lower case.
func keptField(name string) (string, bool) {
	for _, field := range options {
		if strings.ToLower(field) == name {
			return field, true
		}
	}
	return "", false
}
