package architecture

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDecisionsAreIndexed holds the index of docs/adr complete.
func TestDecisionsAreIndexed(t *testing.T) {
	dir := filepath.Join(top, "docs/adr")
	paths, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil || len(paths) < 2 {
		t.Fatal("no records found", err)
	}
	texts := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(path)] = string(text)
	}
	index := texts["README.md"]
	delete(texts, "README.md")
	for _, bad := range badIndex(index, texts) {
		t.Error(bad)
	}
}

var (
	recordName    = regexp.MustCompile(`^(\d{4})-[a-z0-9-]+\.md$`)
	recordHeading = regexp.MustCompile(`^# (\d{4}): (.+)\n\nAccepted\.`)
)

// badIndex compares the index with the records, name to text: every record has a
// row with its number, its title and a line about it, and the rows are in order.
func badIndex(index string, records map[string]string) []string {
	var bad, rows []string
	for line := range strings.Lines(index) {
		if strings.HasPrefix(line, "| [") {
			rows = append(rows, strings.TrimSpace(line))
		}
	}
	names := slices.Sorted(maps.Keys(records))
	if len(rows) != len(names) {
		bad = append(bad, fmt.Sprintf("docs/adr/README.md has %d rows for %d records", len(rows), len(names)))
	}
	number := map[string]string{}
	for i, name := range names {
		file, heading := recordName.FindStringSubmatch(name), recordHeading.FindStringSubmatch(records[name])
		if file == nil || heading == nil || file[1] != heading[1] {
			bad = append(bad, fmt.Sprintf("docs/adr/%s does not begin %q with the number of its name, and \"Accepted.\"",
				name, "# NUMBER: TITLE"))
			continue
		}
		if other := number[file[1]]; other != "" {
			bad = append(bad, fmt.Sprintf("docs/adr/%s has the number of %s", name, other))
		}
		number[file[1]] = name
		begins := fmt.Sprintf("| [%s](%s) | %s | ", file[1], name, heading[2])
		if i >= len(rows) || !strings.HasPrefix(rows[i], begins) || len(rows[i]) < len(begins)+len("a |") {
			bad = append(bad, fmt.Sprintf("row %d of docs/adr/README.md does not begin %q, with a line about it", i+1, begins))
		}
	}
	return bad
}

func TestBadIndex(t *testing.T) {
	const (
		name = "0001-one.md"
		one  = "# 0001: One\n\nAccepted.\n"
		row  = "| [0001](0001-one.md) | One | a line |\n"
	)
	records := map[string]string{name: one}
	cases := []struct {
		name, index string
		records     map[string]string
		bad         bool
	}{
		{"complete", row, records, false},
		{"a record without a row", "", records, true},
		{"a row without a record", row + "| [0002](0002-two.md) | Two | a line |\n", records, true},
		{"another title", "| [0001](0001-one.md) | Two | a line |\n", records, true},
		{"no line about it", "| [0001](0001-one.md) | One |  |\n", records, true},
		{"another number in the heading", row, map[string]string{name: "# 0002: One\n\nAccepted.\n"}, true},
		{"a heading of another form", row, map[string]string{name: "# 1. One\n\nAccepted.\n"}, true},
		{"no status", row, map[string]string{name: "# 0001: One\n\n## Context\n"}, true},
		{"a name of another form", row, map[string]string{"one.md": one}, true},
		{"one number twice", row + "| [0001](0001-two.md) | One | a line |\n",
			map[string]string{name: one, "0001-two.md": one}, true},
		{"out of order", "| [0002](0002-two.md) | Two | a line |\n" + row,
			map[string]string{name: one, "0002-two.md": "# 0002: Two\n\nAccepted.\n"}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if bad := badIndex(c.index, c.records); (len(bad) > 0) != c.bad {
				t.Errorf("found %q, want a violation: %v", bad, c.bad)
			}
		})
	}
}
