package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/pages"
)

// languages are those that blocks may be in, each with what must be true of one. Text is
// what a program printed, or a picture.
var languages = map[string]func(text string) error{
	"sh":   checkShell,
	"toml": func(text string) error { var any map[string]any; return toml.Unmarshal([]byte(text), &any) },
	"json": checkJSON,
	"yaml": checkYAML,
	"ini":  checkUnit,
	"text": func(string) error { return nil },
}

func TestBlocksAreInTheirLanguages(t *testing.T) {
	need.Programs(t, "bash")
	for _, block := range pages.Blocks(t) {
		check, known := languages[block.Language]
		if !known {
			t.Errorf("%s:%d: no language, or one without a check: %q; write text for what is printed",
				block.File, block.Line, block.Language)
			continue
		}
		if err := check(block.Text); err != nil {
			t.Errorf("%s:%d: %v", block.File, block.Line, err)
		}
	}
}

func TestBlocksWithMistakesAreFound(t *testing.T) {
	need.Programs(t, "bash")
	for language, text := range map[string]string{
		"sh": "if true; then", "toml": "a = ", "json": `{"a": }`, "yaml": "a: [", "ini": "KillSignal=SIGQUIT\n",
	} {
		require.Error(t, languages[language](text), language)
	}
	require.ErrorContains(t, checkShell("make no-such-target\n"), "no-such-target")
}

func checkShell(text string) error {
	cmd := exec.Command("bash", "-n")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("bash -n: %w: %s", err, out)
	}
	targets, err := makeTargets()
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "make" && !slices.Contains(targets, words[1]) {
			return fmt.Errorf("the Makefile has no target %s", words[1])
		}
	}
	return nil
}

// makeTargets are the targets that `make help` lists.
func makeTargets() (targets []string, err error) {
	text, err := os.ReadFile("../../Makefile")
	for _, match := range regexp.MustCompile(`(?m)^([a-z-]+):.* ## `).FindAllSubmatch(text, -1) {
		targets = append(targets, string(match[1]))
	}
	return targets, err
}

func checkJSON(text string) error {
	var any any
	return json.Unmarshal([]byte(text), &any)
}

func checkYAML(text string) error {
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	for {
		var any any
		if err := decoder.Decode(&any); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// checkUnit wants a file of systemd's: settings in sections.
func checkUnit(text string) error {
	section := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = true
		case !section || !strings.Contains(line, "="):
			return fmt.Errorf("%q is no setting in a section", line)
		}
	}
	return nil
}

// link is a link of Markdown, and heading one of its headings.
var (
	link    = regexp.MustCompile(`\]\(\s*([^()\s]+)\s*\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
)

func TestLinksLead(t *testing.T) {
	for _, page := range pages.All(t) {
		for _, match := range link.FindAllStringSubmatch(pages.Read(t, page), -1) {
			if strings.HasPrefix(page, "CHANGELOG") && strings.HasPrefix(match[1], "http") {
				continue
			}
			to, err := url.Parse(match[1])
			require.NoError(t, err, page)
			if to.IsAbs() {
				continue
			}
			target := page
			if to.Path != "" {
				target = path.Join(path.Dir(page), to.Path)
			}
			if _, err := os.Stat(filepath.Join(pages.Root(t), target)); err != nil {
				t.Errorf("%s links to %s, which is not there", page, match[1])
				continue
			}
			if to.Fragment != "" && !slices.Contains(anchors(pages.Read(t, target)), to.Fragment) {
				t.Errorf("%s links to %s, and there is no such heading", page, match[1])
			}
		}
	}
}

// anchors are what links to the headings of a page end in.
func anchors(text string) (names []string) {
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		name := strings.ToLower(match[1])
		name = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(name, "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// TestIndexHasEveryPage but the decisions, which have an index of their own.
func TestIndexHasEveryPage(t *testing.T) {
	index := pages.Read(t, "docs/README.md")
	for _, page := range pages.All(t) {
		below, is := strings.CutPrefix(page, "docs/")
		if !is || below == "README.md" || strings.HasPrefix(below, "adr/") {
			continue
		}
		if !strings.Contains(index, "]("+below+")") {
			t.Errorf("docs/README.md has no link to %s", below)
		}
	}
}
