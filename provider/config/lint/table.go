package lint

import (
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// table is a table of the file. What is not there, or of another type, is as if
// nobody had written it: what is of a wrong type is a mistake, and said already.
type table struct {
	path   string
	values map[string]any
}

func (t table) at(key string) string { return tomlfile.Join(t.path, key) }

func (t table) has(key string) bool { return t.values[key] != nil }

func (t table) table(key string) table {
	values, _ := t.values[key].(map[string]any)
	return table{t.at(key), values}
}

// tables are those of a list, or the one that stands in its place.
func (t table) tables(key string) (all []table) {
	if values, ok := t.values[key].(map[string]any); ok {
		return []table{{t.at(key), values}}
	}
	list, _ := t.values[key].([]any)
	for i, element := range list {
		values, _ := element.(map[string]any)
		all = append(all, table{tomlfile.At(t.at(key), i), values})
	}
	return all
}

func (t table) whole(key string, otherwise int64) int64 {
	if n, ok := t.values[key].(int64); ok {
		return n
	}
	return otherwise
}

func (t table) flag(key string) bool {
	on, _ := t.values[key].(bool)
	return on
}

func (t table) text(key string) string {
	text, _ := t.values[key].(string)
	return text
}

// duration takes what the runner takes: a text, or nanoseconds.
func (t table) duration(key string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(t.text(key)); err == nil {
		return d
	}
	return time.Duration(t.whole(key, int64(otherwise)))
}
