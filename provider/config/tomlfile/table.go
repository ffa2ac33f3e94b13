package tomlfile

import "time"

// Table is a table of a file. What is not there, or of another type, is as if nobody had
// written it: that a type is wrong, package config says.
type Table struct {
	Path   string
	Values map[string]any
}

// Top is the table of all.
func (f File) Top() Table { return Table{Values: f.Values} }

// At is the path of a key, also of one that is not there.
func (t Table) At(key string) string { return Join(t.Path, key) }

// Has tells whether there is a value.
func (t Table) Has(key string) bool { return t.Values[key] != nil }

// Table is one inside.
func (t Table) Table(key string) Table {
	values, _ := t.Values[key].(map[string]any)
	return Table{t.At(key), values}
}

// Tables are those of a list, or the one that stands in its place.
func (t Table) Tables(key string) (all []Table) {
	if values, ok := t.Values[key].(map[string]any); ok {
		return []Table{{t.At(key), values}}
	}
	list, _ := t.Values[key].([]any)
	for i, element := range list {
		values, _ := element.(map[string]any)
		all = append(all, Table{At(t.At(key), i), values})
	}
	return all
}

// Number is a whole number, or what it is otherwise.
func (t Table) Number(key string, otherwise int64) int64 {
	if n, ok := t.Values[key].(int64); ok {
		return n
	}
	return otherwise
}

// Flag tells whether a value is true.
func (t Table) Flag(key string) bool {
	on, _ := t.Values[key].(bool)
	return on
}

// Text is a string.
func (t Table) Text(key string) string {
	text, _ := t.Values[key].(string)
	return text
}

// Texts are the strings of a list.
func (t Table) Texts(key string) (texts []string) {
	list, _ := t.Values[key].([]any)
	for _, element := range list {
		if text, ok := element.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// Duration is what GitLab Runner takes for one: a text, or nanoseconds.
func (t Table) Duration(key string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(t.Text(key)); err == nil {
		return d
	}
	return time.Duration(t.Number(key, int64(otherwise)))
}
