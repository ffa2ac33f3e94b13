package cloudhypervisor

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var openapi []byte

// schema is as much of an OpenAPI schema as the document uses.
type schema struct {
	Ref        string            `yaml:"$ref"`
	Type       string            `yaml:"type"`
	Required   []string          `yaml:"required"`
	Properties map[string]schema `yaml:"properties"`
	Items      *schema           `yaml:"items"`
	Enum       []string          `yaml:"enum"`
	Minimum    *float64          `yaml:"minimum"`
}

// undocumented are what the document lacks, by schema and property.
var undocumented = map[string][]string{
	"NetConfig": {"fds"}, "CpusConfig": {"profile"}, "DiskConfig": {"disable_io_uring"}, "RestoreConfig": {"net_fds"},
}

// Schemas are the schemas of requests, by name.
type Schemas map[string]schema

// ReadSchemas reads the document.
func ReadSchemas() (Schemas, error) {
	var document struct {
		Components struct{ Schemas Schemas }
	}
	if err := yaml.Unmarshal(openapi, &document); err != nil {
		return nil, fmt.Errorf("reading openapi.yaml: %w", err)
	}
	return document.Components.Schemas, nil
}

// CopyOnWrite is a restore mode that came after the document.
const CopyOnWrite = "CopyOnWrite"

// Check says what of a request's body is not as its schema has it: a field that
// is unknown or missing, or of the wrong type. Cloud Hypervisor itself passes
// over fields that it does not know; what is misspelt would then do nothing.
func (s Schemas) Check(name string, body []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	if decoder.More() {
		return fmt.Errorf("more than one JSON value")
	}
	return s.check(name, schema{Ref: "#/components/schemas/" + name}, value)
}

func (s Schemas) check(path string, want schema, value any) error {
	name := ""
	if want.Ref != "" {
		name = strings.TrimPrefix(want.Ref, "#/components/schemas/")
		referred, ok := s[name]
		if !ok {
			return fmt.Errorf("%s: no schema is called %q", path, name)
		}
		want = referred
	}
	switch want.Type {
	case "object":
		return s.checkObject(path, name, want, value)
	case "array":
		list, ok := value.([]any)
		if !ok {
			return fmt.Errorf("%s: want a list, have %v", path, value)
		}
		for i, element := range list {
			if err := s.check(fmt.Sprintf("%s[%d]", path, i), *want.Items, element); err != nil {
				return err
			}
		}
		return nil
	case "string":
		text, ok := value.(string)
		if !ok || len(want.Enum) > 0 && !slices.Contains(want.Enum, text) {
			return fmt.Errorf("%s: want a string %v, have %v", path, want.Enum, value)
		}
		return nil
	case "boolean":
		if _, ok := value.(bool); !ok {
			return fmt.Errorf("%s: want true or false, have %v", path, value)
		}
		return nil
	case "integer":
		return checkInteger(path, want, value)
	}
	return fmt.Errorf("%s: the schema's type %q is not known", path, want.Type)
}

func (s Schemas) checkObject(path, name string, want schema, value any) error {
	object, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: want an object, have %v", path, value)
	}
	for _, key := range want.Required {
		if _, ok := object[key]; !ok {
			return fmt.Errorf("%s: missing field `%s`", path, key)
		}
	}
	for key, field := range object {
		property, known := want.Properties[key]
		switch {
		case !known && slices.Contains(undocumented[name], key):
		case !known:
			return fmt.Errorf("%s: unknown field `%s`", path, key)
		default:
			if err := s.check(path+"."+key, property, field); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkInteger(path string, want schema, value any) error {
	number, ok := value.(json.Number)
	if !ok {
		return fmt.Errorf("%s: want a whole number, have %v", path, value)
	}
	whole, err := number.Int64()
	least := float64(0) // all of them are unsigned
	if want.Minimum != nil {
		least = math.Max(least, *want.Minimum)
	}
	if err != nil || float64(whole) < least {
		return fmt.Errorf("%s: want a whole number from %v on, have %v", path, least, number)
	}
	return nil
}
