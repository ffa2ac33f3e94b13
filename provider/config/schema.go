package config

import (
	"fmt"
	"maps"

	"github.com/pelletier/go-toml/v2"
)

// schema is a JSON Schema, or a part of one.
type schema map[string]any

// with is the schema with one more keyword.
func (s schema) with(keyword string, value any) schema {
	more := maps.Clone(s)
	more[keyword] = value
	return more
}

func listOf(element schema) schema { return schema{"type": "array", "items": element} }

// tableOf has these keys and no others.
func tableOf(keys map[string]schema) schema {
	return schema{"type": "object", "properties": keys, "additionalProperties": false}
}

// Schema is the JSON Schema (2020-12) of plugin_config. All that Parse takes from a TOML
// file is valid by it; it knows types, words and names of keys, and no more.
func Schema() map[string]any {
	var c Config
	top := make(map[string]schema)
	for _, s := range c.sections() {
		keys := top
		if s.name != "" {
			keys = make(map[string]schema)
		}
		for _, k := range s.keys {
			keys[k.name] = k.schema()
		}
		if s.name != "" {
			top[s.name] = tableOf(keys)
		}
	}
	for _, flat := range flatKeys {
		meaning := "fleetingd's name for " + flat.nested + "."
		if flat.nested == "" {
			meaning = "fleetingd's; it decides nothing here."
		}
		top[flat.name] = flat.schema.with("deprecated", true).with("description", meaning)
	}
	return tableOf(top).
		with("$schema", "https://json-schema.org/draft/2020-12/schema").
		with("title", PluginName+": [runners.autoscaler.plugin_config]")
}

func (k key) schema() schema {
	s := k.value.schema.with("description", k.comment())
	if k.fallback != "" {
		s = s.with("default", fromTOML(k.fallback))
	}
	if k.example != "" {
		s = s.with("examples", []any{fromTOML(k.example)})
	}
	return s
}

// fromTOML is the value that a text means in the file.
func fromTOML(text string) any {
	var file map[string]any
	if err := toml.Unmarshal([]byte("value = "+text), &file); err != nil {
		panic(fmt.Sprintf("config: %s is no value: %v", text, err)) // it is ours, and read by a test
	}
	return file["value"]
}
