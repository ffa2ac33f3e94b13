package config

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// section is one table of plugin_config: its keys, and what they say together.
type section struct {
	// name is the table's; plugin_config itself has none.
	name string
	// about stands above the table in `config example`.
	about string
	keys  []key
	// together looks at keys beside each other, once all sections are read: it
	// refuses contradictions. It may be nil.
	together func(*reading)
}

// key is one setting. It is the only place that knows the setting: reading,
// checking, writing, the default, `config example` and, by `make generate`, the
// table in docs/reference/configuration.md follow from it.
//
//go:generate go test -count=1 -run ^TestReferenceIsWhatTheKeysSay$ -update .
type key struct {
	name  string
	value value
	// fallback is the default as one would write it into the file. Without one,
	// the zero value is the default, and means what otherwise says.
	fallback, otherwise string
	// example is a good value, in place of the default where that shows too little.
	example string
	// kind is the type in the reference, where the value's own says too little.
	kind string
	// about is the meaning in the reference; its first sentence is the comment
	// in `config example`. refused are the values that are mistakes.
	about, refused string
}

// instance is a value to be shown to somebody who wrote a wrong one.
func (k key) instance() string { return cmp.Or(k.example, k.fallback) }

// oneLine undoes the line breaks of a text that the code has in several lines.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// path is the full name of a key of the section, without the root.
func (s section) path(k key) string {
	if s.name == "" {
		return k.name
	}
	return s.name + "." + k.name
}

// value is a place in a Config, in the form that it has in the file.
type value struct {
	kind   string
	schema schema
	// read checks what is given and puts it into its place. What is not given, or
	// is wrong, leaves there what there was. It tells whether something of the right
	// type is given.
	read func(m *Errors, g given, instance string) bool
	// write is the contrary, and zero tells whether there is nothing to write.
	write func() any
	zero  func() bool
}

// as is a value whose form in the file is F.
func as[F, T any](f form[F], to *T, parse func(F) (T, error), write func(T) any) value {
	return value{
		kind:   f.kind,
		schema: f.schema,
		read: func(m *Errors, g given, instance string) bool {
			written, ok := f.of(m, g, instance)
			if ok {
				set(m, g.path, to, written, parse)
			}
			return ok
		},
		write: func() any { return write(*to) },
		zero:  func() bool { return reflect.ValueOf(to).Elem().IsZero() },
	}
}

func set[F, T any](m *Errors, path string, to *T, written F, parse func(F) (T, error)) {
	parsed, err := parse(written)
	if err != nil {
		m.add(path, "%v", err)
		return
	}
	*to = parsed
}

// text is a string, which the type's own String method writes.
func text[T any](to *T, parse func(string) (T, error)) value {
	return as(aString, to, parse, asText[T])
}

// word is one out of a few.
func word(to *string, words ...string) value { return text(to, oneOf(words...)).among(words...) }

// among says in the schema which words there are.
func (v value) among(words ...string) value {
	v.schema = v.schema.with("enum", words)
	return v
}

func asText[T any](v T) any { return fmt.Sprint(v) }

func boolean(to *bool) value {
	return as(aFlag, to, func(v bool) (bool, error) { return v, nil }, func(v bool) any { return v })
}

func whole[T int | int64](to *T, check func(int64) error) value {
	return as(aWhole, to, func(n int64) (T, error) { return T(n), check(n) }, func(n T) any { return n })
}

// factor is a number from least to most, or, where off is not empty, 0 for what
// off says.
func factor(to *float64, least, most float64, off string) value {
	parse := func(f float64) (float64, error) {
		if f >= least && f <= most || f == 0 && off != "" {
			return f, nil
		}
		mend := fmt.Sprintf("write a number from %g to %g", least, most)
		if off != "" {
			mend += ", or 0 for " + off
		}
		return 0, fmt.Errorf("%g is out of range: %s", f, mend)
	}
	return as(aNumber, to, parse, func(f float64) any { return f })
}

// list is a list of strings. One that is given is never nil, even when it is
// empty: to deny nothing is not the same as to say nothing.
func list[T any](to *[]T, parse func(string) (T, error)) value {
	several := func(text string) ([]T, error) {
		one, err := parse(text)
		return []T{one}, err
	}
	return lists(to, several, func(all []T) []string {
		texts := make([]string, len(all))
		for i, one := range all {
			texts[i] = fmt.Sprint(one)
		}
		return texts
	})
}

// entries is a table whose keys are the user's. inside is the form of one of them; read checks
// it, by its name, and adds what is wrong to the mistakes.
func entries[T any](
	to *map[string]T, inside schema, read func(m *Errors, g given, name string) T, write func(T) any,
) value {
	return value{
		kind:   aTable.kind,
		schema: aTable.schema.with("additionalProperties", inside),
		zero:   func() bool { return *to == nil },
		write: func() any {
			all := make(map[string]any, len(*to))
			for name, entry := range *to {
				all[name] = write(entry)
			}
			return all
		},
		read: func(m *Errors, g given, instance string) bool {
			written, ok := aTable.of(m, g, instance)
			if !ok {
				return false
			}
			*to = make(map[string]T, len(written))
			for name, entry := range written {
				(*to)[name] = read(m, given{tomlfile.Join(g.path, name), entry}, name)
			}
			return true
		},
	}
}

// lists is a list whose entries may each stand for several.
func lists[T any](to *[]T, parse func(string) ([]T, error), write func([]T) []string) value {
	return value{
		kind:   aList.kind,
		schema: aList.schema,
		write:  func() any { return write(*to) },
		zero:   func() bool { return *to == nil },
		read: func(m *Errors, g given, instance string) bool {
			texts, ok := readTexts(m, g, instance)
			if !ok {
				return false
			}
			*to = []T{}
			for i, text := range texts {
				some, err := parse(text)
				if err != nil {
					m.add(tomlfile.At(g.path, i), "%v", err)
				}
				*to = append(*to, some...)
			}
			return true
		},
	}
}
