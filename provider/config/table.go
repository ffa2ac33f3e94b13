package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// given is a value as the file gives it: of the right type, not yet checked.
// It carries its path because a value may come from its own key or from
// fleetingd's name for it, and a mistake must name what the user wrote.
type given[T any] struct {
	path  string
	value T
	set   bool
}

// table reads the keys of one table. It remembers which keys were asked for,
// so that what is left over is unknown: no second list of keys can go stale.
type table struct {
	path     string
	values   map[string]any
	known    []string
	inside   []*table
	mistakes *Errors
}

// read takes a key's value out of the table. A null counts as not given.
func read[T any](t *table, key, want, example string, convert func(any) (T, bool)) given[T] {
	t.known = append(t.known, key)
	g := given[T]{path: join(t.path, key)}
	value := t.values[key]
	if value == nil {
		return g
	}
	if g.value, g.set = convert(value); !g.set {
		t.mistakes.add(g.path, "want %s, have %s: write for instance %s", want, describe(value), example)
	}
	return g
}

func (t *table) text(key, example string) given[string] {
	return read(t, key, "a string", example, as[string])
}

func (t *table) flag(key, example string) given[bool] {
	return read(t, key, "true or false", example, as[bool])
}

func (t *table) whole(key, example string) given[int64] {
	return read(t, key, "a whole number", example, asWhole)
}

// texts reads a list of strings. A list with one wrong element is wrong.
func (t *table) texts(key, example string) given[[]string] {
	list := read(t, key, "a list of strings", example, as[[]any])
	texts := given[[]string]{path: list.path, value: make([]string, len(list.value)), set: list.set}
	for i, element := range list.value {
		text, ok := element.(string)
		if !ok {
			t.mistakes.add(at(list.path, i), "want a string, have %s: write for instance %s = %s",
				describe(element), key, example)
			texts.set = false
		}
		texts.value[i] = text
	}
	return texts
}

// table reads a table inside this one; when it is not given, it is empty.
func (t *table) table(key string) *table {
	g := read(t, key, "a table", "[runners.autoscaler.plugin_config."+key+"]", as[map[string]any])
	inside := &table{path: g.path, values: g.value, mistakes: t.mistakes}
	t.inside = append(t.inside, inside)
	return inside
}

// refuseRest reports the keys that nobody asked for, here and in the tables
// inside. All tables were read before: a key may have its place in another one.
func (t *table) refuseRest() {
	all := append([]*table{t}, t.inside...)
	for _, one := range all {
		for key := range one.values {
			if !slices.Contains(one.known, key) {
				t.mistakes.add(join(one.path, key), "unknown key: %s", one.advise(key, all))
			}
		}
	}
}

// advise says what an unknown key most likely meant. In TOML a line too high or
// too low is enough for a key to end up in another table.
func (t *table) advise(key string, all []*table) string {
	if near := closest(key, t.known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	for _, other := range all {
		if slices.Contains(other.known, key) {
			return fmt.Sprintf("did you mean %s?", join(other.path, key))
		}
	}
	return "remove it, or use one of " + strings.Join(t.known, ", ")
}

func as[T any](value any) (T, bool) {
	typed, ok := value.(T)
	return typed, ok
}

// asWhole refuses 1.5, 1e3 and what does not fit 64 bits alike.
func asWhole(value any) (int64, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	whole, err := strconv.ParseInt(number.String(), 10, 64)
	return whole, err == nil
}

// describe names a value of generic JSON, or TOML, in the words of the file.
func describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("the string %q", v)
	case json.Number:
		return "the number " + v.String()
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	default:
		return fmt.Sprint(v)
	}
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// join makes a dotted path the way TOML writes it, so that a path never holds
// a line break.
func join(path, key string) string {
	if !bareKey.MatchString(key) {
		key = strconv.Quote(key)
	}
	return path + "." + key
}

// at is the path of a list's element.
func at(path string, index int) string { return fmt.Sprintf("%s[%d]", path, index) }
