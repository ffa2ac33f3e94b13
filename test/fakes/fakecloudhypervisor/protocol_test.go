//go:build linux

package fakecloudhypervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// document is Cloud Hypervisor's own description of its API, version 0.3.0, if
// a copy lies beside this project.
const document = "../../../../shared/reference/cloud-hypervisor-openapi.yaml"

// openapi is as much of such a document as this test needs.
type openapi struct {
	Paths map[string]map[string]struct {
		RequestBody struct {
			Content map[string]struct{ Schema schema }
		} `yaml:"requestBody"`
	}
	Components struct{ Schemas map[string]schema }
}

type schema struct {
	Ref        string `yaml:"$ref"`
	Type       string
	Required   []string
	Properties map[string]schema
	Items      *schema
	Enum       []string
	Minimum    int64
}

func TestWhatIsStatedIsInCloudHypervisorsDocument(t *testing.T) {
	description, err := os.ReadFile(document)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no document to compare with")
	}
	require.NoError(t, err)
	var d openapi
	require.NoError(t, yaml.Unmarshal(description, &d))
	for name, c := range calls {
		stated, known := d.Paths["/"+name][strings.ToLower(c.method)]
		require.True(t, known, "%s %s", c.method, name)
		content, hasBody := stated.RequestBody.Content["application/json"]
		require.Equal(t, hasBody, c.body != nil, "%s has a body", name)
		if hasBody {
			require.Empty(t, d.differences(name, content.Schema, c.body))
		}
	}

	require.NotEmpty(t, d.differences("colour", schema{Type: "object"}, object{"red": flag{}}))
	require.NotEmpty(t, d.differences("optional", schema{
		Type: "object", Required: []string{"red"}, Properties: map[string]schema{"red": {Type: "boolean"}},
	}, object{"red": flag{}}))
	require.NotEmpty(t, d.differences("type", schema{Type: "string"}, atLeast(0)))
	require.NotEmpty(t, d.differences("value", schema{Type: "string", Enum: []string{"Raw"}}, text{"raw"}))
	require.NotEmpty(t, d.differences("least", schema{Type: "integer", Minimum: 3}, atLeast(2)))
}

// differences are where a form would let pass what the document does not.
func (d openapi) differences(path string, theirs schema, ours form) []string {
	if name, refers := strings.CutPrefix(theirs.Ref, "#/components/schemas/"); refers {
		theirs = d.Components.Schemas[name]
	}
	different := func(what string, args ...any) []string { return []string{path + ": " + fmt.Sprintf(what, args...)} }
	switch ours := ours.(type) {
	case required:
		return d.differences(path, theirs, ours.form)
	case object:
		return d.differentFields(path, theirs, ours)
	case list:
		if theirs.Type != "array" || theirs.Items == nil {
			return different("a list, and theirs is %q", theirs.Type)
		}
		return d.differences(path+"[]", *theirs.Items, ours.of)
	case text:
		unknown := func(value string) bool { return !slices.Contains(theirs.Enum, value) }
		if theirs.Type != "string" || theirs.Enum != nil && (len(ours) == 0 || slices.ContainsFunc(ours, unknown)) {
			return different("a string %q, and theirs is %q %q", []string(ours), theirs.Type, theirs.Enum)
		}
	case flag:
		if theirs.Type != "boolean" {
			return different("true or false, and theirs is %q", theirs.Type)
		}
	case atLeast:
		if theirs.Type != "integer" || int64(ours) < theirs.Minimum {
			return different("a number from %d on, and theirs is %q from %d on", ours, theirs.Type, theirs.Minimum)
		}
	}
	return nil
}

func (d openapi) differentFields(path string, theirs schema, ours object) (different []string) {
	for name, field := range ours {
		property, known := theirs.Properties[name]
		if !known {
			different = append(different, path+"."+name+": theirs has no such field")
			continue
		}
		different = append(different, d.differences(path+"."+name, property, field)...)
	}
	for _, name := range theirs.Required {
		if _, must := ours[name].(required); !must {
			different = append(different, path+"."+name+": theirs is required")
		}
	}
	return different
}
