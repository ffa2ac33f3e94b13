package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/templates"
)

// exampleWidth is how long a line of comment in the example is at most.
const exampleWidth = 80

// Example is a complete config.toml for GitLab Runner, with every key of
// plugin_config in a comment: after one # at its default, after two with a value
// that is only an example.
func Example() string {
	var out strings.Builder
	out.WriteString(templates.RunnerConfig)
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
			if k.example != "" {
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
