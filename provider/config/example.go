package config

import (
	"fmt"
	"slices"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/templates"
)

// exampleWidth is how long a line of comment in the example is at most.
const exampleWidth = 80

// purpose is what an example is for.
type purpose struct {
	// Name is the word for it on the command line, and Executor the runner's.
	Name, Executor string
	// set are the keys that it needs, by their paths, with their values.
	set map[string]string
}

// ForInstance is the usual purpose.
const ForInstance = "instance"

// purposes that there are.
var purposes = []purpose{
	{Name: ForInstance, Executor: "instance"},
	{Name: "docker", Executor: "docker-autoscaler", set: map[string]string{"image.preset": `"docker"`}},
}

// Purposes are what there are examples for.
func Purposes() (names []string) {
	for _, p := range purposes {
		names = append(names, p.Name)
	}
	return names
}

var runnerConfig = template.Must(template.New("config.toml").Parse(templates.RunnerConfig))

// Example is a complete config.toml for GitLab Runner for one of the purposes, with
// every key of plugin_config in a comment: after one # at its default, after two with
// a value that is only an example. What the purpose needs is in no comment.
func Example(purpose string) string {
	var out strings.Builder
	of := purposes[slices.Index(Purposes(), purpose)]
	if err := runnerConfig.Execute(&out, of); err != nil {
		panic(fmt.Sprintf("config: the example is wrong: %v", err)) // it is ours, and filled in by a test
	}
	var c Config
	for _, s := range c.sections() {
		out.WriteString("\n")
		writeComment(&out, "    ", s.about)
		fmt.Fprintf(&out, "    [%s]\n", strings.TrimSuffix("runners.autoscaler.plugin_config."+s.name, "."))
		for i, k := range s.keys {
			if i > 0 {
				out.WriteString("\n")
			}
			writeComment(&out, "      ", k.comment())
			if k.fallback != "" {
				fmt.Fprintf(&out, "      # %s = %s\n", k.name, k.fallback)
			}
			if value := of.set[s.path(k)]; value != "" {
				fmt.Fprintf(&out, "      %s = %s\n", k.name, value)
			} else if k.example != "" {
				fmt.Fprintf(&out, "      ## %s = %s\n", k.name, k.example)
			}
		}
	}
	return out.String()
}

// comment is the first sentence about a key, and a second one about a default for
// which there is no value.
func (k key) comment() string {
	text, _, _ := strings.Cut(oneLine(k.about), ". ")
	first, size := utf8.DecodeRuneInString(text)
	text = string(unicode.ToUpper(first)) + text[size:] + "."
	if k.fallback == "" && k.otherwise != "" {
		text += " By default " + k.otherwise + "."
	}
	return strings.ReplaceAll(text, "`", "")
}

// writeComment writes a text in lines that are not too long.
func writeComment(out *strings.Builder, indent, text string) {
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > exampleWidth {
			out.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	if text != "" {
		out.WriteString(line + "\n")
	}
}
