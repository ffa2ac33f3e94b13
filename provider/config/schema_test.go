package config

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/pages"
)

// compiled is the schema as a library of JSON Schema reads it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(Schema())
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("plugin_config.json", document))
	compiled, err := compiler.Compile("plugin_config.json")
	require.NoError(t, err)
	assert.Equal(t, 2020, compiled.DraftVersion)
	return compiled
}

func validate(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err, text)
	return s.Validate(value)
}

// What the plugin takes of an example, the schema takes.
func TestSchemaTakesAllExamples(t *testing.T) {
	s := compiled(t)
	taken := 0
	for name, text := range examples(t) {
		file, err := tomlfile.Parse([]byte(text))
		if err != nil {
			continue // it is there for that
		}
		runners, _ := Runners(file)
		for _, runner := range runners {
			if _, mistakes := runner.Config(); len(mistakes) > 0 || runner.config == nil {
				continue
			}
			config, err := json.Marshal(runner.config)
			require.NoError(t, err)
			assert.NoError(t, validate(t, s, string(config)), name)
			taken++
		}
	}
	assert.Greater(t, taken, 50)
}

// examples are the configurations on pages and in testdata, by where they are.
func examples(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, block := range pages.Blocks(t, "toml") {
		all[fmt.Sprint(block.File, ":", block.Line)] = block.Text
	}
	archives, err := filepath.Glob("*/testdata/*.txtar")
	require.NoError(t, err)
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		require.NoError(t, err)
		for _, file := range archive.Files {
			all[path+" "+file.Name] = string(file.Data)
		}
	}
	for _, purpose := range Purposes() {
		all["example "+purpose] = Example(purpose)
		all["whole example "+purpose] = regexp.MustCompile(`(?m)^( *)# ([a-z0-9_]+ = )`).
			ReplaceAllString(Example(purpose), "$1$2")
	}
	return all
}

// A value of another type is refused by both, for every key, fleetingd's among them.
func TestSchemaRefusesWrongTypes(t *testing.T) {
	s := compiled(t)
	values := map[string]string{
		"string": `"?"`, "boolean": `true`, "integer": `7`, "number": `1.5`, "array": `[]`, "object": `{}`,
	}
	refuse := func(path, enclosed string, of schema) {
		takes := fmt.Sprint(of["type"])
		for kind, value := range values {
			if strings.Contains(takes, kind) || takes == "number" && kind == "integer" {
				continue
			}
			text := fmt.Sprintf(enclosed, value)
			_, err := Parse([]byte(text))
			assert.Error(t, err, text)
			assert.Error(t, validate(t, s, text), text)
		}
	}
	everyKey(func(s section, k key, enclosed string) { refuse(s.path(k), enclosed, k.schema()) })
	for _, flat := range flatKeys {
		refuse(flat.name, fmt.Sprintf("{%q:%%s}", flat.name), flat.schema)
	}
	for _, text := range []string{
		`[]`, `"x"`, `{"pol": "a"}`, `{"machine": {"cpu": 2}}`, `{"machine": []}`, `{"backend": "cloud"}`,
		`{"image": {"packages": ["git", 7]}}`, `{"image": {"env": {"A": 1}}}`, `{"image": {"preset": "podman"}}`,
		`{"image": {"files": {"/etc/motd": {"text": "x"}}}}`, `{"image": {"files": {"/etc/motd": "x"}}}`,
	} {
		_, err := Parse([]byte(text))
		assert.Error(t, err, text)
		assert.Error(t, validate(t, s, text), text)
	}
}

func TestSchemaTakesEveryDefaultAndExample(t *testing.T) {
	s := compiled(t)
	everyKey(func(_ section, k key, enclosed string) {
		for _, text := range []string{k.fallback, k.example} {
			if text == "" {
				continue
			}
			value, err := json.Marshal(fromTOML(text))
			require.NoError(t, err)
			assert.NoError(t, validate(t, s, fmt.Sprintf(enclosed, value)))
		}
	})
	everything, err := json.Marshal(Default())
	require.NoError(t, err)
	assert.NoError(t, validate(t, s, string(everything)))
}
