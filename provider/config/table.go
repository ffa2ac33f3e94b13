package config

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// given is a value of the file, not looked at yet, with its path there, which a
// mistake must name. A nil value is not given: null counts as that.
type given struct {
	path  string
	value any
}

// table is a table of the file.
type table struct {
	path   string
	values map[string]any
}

func (t table) at(key string) given { return given{tomlfile.Join(t.path, key), t.values[key]} }

// form is a type that a value has in the file.
type form[T any] struct {
	// kind names it in the reference, want in a mistake.
	kind, want string
	schema     schema
	from       func(any) (T, bool)
}

var (
	aString = form[string]{"string", "a string", schema{"type": "string"}, typed[string]}
	aFlag   = form[bool]{"true or false", "true or false", schema{"type": "boolean"}, typed[bool]}
	aWhole  = form[int64]{"whole number", "a whole number", schema{"type": "integer"}, asWhole}
	aNumber = form[float64]{"number", "a number", schema{"type": "number"}, asNumber}
	aList   = form[[]any]{"list of strings", "a list of strings", listOf(aString.schema), typed[[]any]}
	aTable  = form[map[string]any]{"table", "a table", schema{"type": "object"}, typed[map[string]any]}
)

func typed[T any](value any) (T, bool) {
	v, ok := value.(T)
	return v, ok
}

// asWhole takes JSON's numbers and TOML's. It refuses 1.5, 1e3 and what does not
// fit 64 bits alike.
func asWhole(value any) (int64, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return typed[int64](value)
	}
	whole, err := strconv.ParseInt(number.String(), 10, 64)
	return whole, err == nil
}

// asNumber takes JSON's numbers and TOML's, whole or not.
func asNumber(value any) (float64, bool) {
	switch number := value.(type) {
	case json.Number:
		f, err := number.Float64()
		return f, err == nil
	case int64:
		return float64(number), true
	}
	return typed[float64](value)
}

// of is the value, if one of the right type is given.
func (f form[T]) of(m *Errors, g given, instance string) (T, bool) {
	var none T
	if g.value == nil {
		return none, false
	}
	v, ok := f.from(g.value)
	if !ok {
		m.add(g.path, "want %s, have %s: write for instance %s", f.want, describe(g.value), instance)
	}
	return v, ok
}

// readTable reads a table inside; when it is not given, it is empty.
func readTable(m *Errors, g given, instance string) table {
	values, _ := aTable.of(m, g, instance)
	return table{g.path, values}
}

// readTexts reads a list of strings. A list with one wrong element is wrong.
func readTexts(m *Errors, g given, instance string) ([]string, bool) {
	list, ok := aList.of(m, g, instance)
	texts := make([]string, len(list))
	for i, element := range list {
		text, isText := element.(string)
		if !isText {
			m.add(tomlfile.At(g.path, i), "want a string, have %s: write for instance %s = %s",
				describe(element), g.path[strings.LastIndex(g.path, ".")+1:], instance)
			ok = false
		}
		texts[i] = text
	}
	return texts, ok
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
