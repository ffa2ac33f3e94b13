package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Every module's section begins with a rule, its path and its version.
var (
	rule    = strings.Repeat("=", 80)
	section = regexp.MustCompile(`(?m)^` + rule + `\n(\S+)(?: (\S+))?\n` + rule + `\n`)
)

// legal fits the files that are licences, notices and grants; code is code,
// whatever it is called. An addition alone is not a licence.
var (
	legal    = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|copyright|notice|patents)s?([-_.].*)?$`)
	addition = regexp.MustCompile(`(?i)^(notice|patents)`)
	code     = regexp.MustCompile(`\.(go|s|c|h|py|sh|tmpl|json|ya?ml)$`)
)

func render(modules []module) (string, error) {
	var text strings.Builder
	for _, m := range modules {
		part, err := m.text()
		if err != nil {
			return "", err
		}
		text.WriteString(part)
	}
	return text.String(), nil
}

// text is the module's section. A module without any licence is an error: we
// may not ship it.
func (m module) text() (string, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n%s\n%s\n", rule, strings.TrimSpace(m.path+" "+m.version), rule)
	licensed := false
	for _, dir := range m.folders() {
		names, err := legalFiles(dir)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return "", err
			}
			title, err := filepath.Rel(m.dir, filepath.Join(dir, name))
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&text, "\n--- %s\n\n%s\n", filepath.ToSlash(title), clean(string(content)))
			licensed = licensed || !addition.MatchString(name)
		}
	}
	if !licensed {
		return "", fmt.Errorf("%s %s: no licence in %v", m.path, m.version, m.folders())
	}
	text.WriteString("\n")
	return text.String(), nil
}

// legalFiles are the names of the licences and notices in a folder.
func legalFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, entry := range entries {
		if entry.Type().IsRegular() && legal.MatchString(entry.Name()) && !code.MatchString(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// clean takes away what editors leave: line ends of other systems, blanks
// around the text.
func clean(text string) string {
	return strings.Trim(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
}

// parse returns the version of every module that has a section in the texts.
func parse(text string) map[string]string {
	versions := map[string]string{}
	for _, match := range section.FindAllStringSubmatch(text, -1) {
		versions[match[1]] = match[2]
	}
	return versions
}

// missing returns every module whose section the texts lack, or have for
// another version.
func missing(modules []module, text string) []string {
	have := parse(text)
	var bad []string
	for _, m := range modules {
		version, ok := have[m.path]
		switch {
		case !ok:
			bad = append(bad, fmt.Sprintf("%s %s: no licence in the texts", m.path, m.version))
		case version != m.version:
			bad = append(bad, fmt.Sprintf("%s %s: the texts hold the licence of %s", m.path, m.version, version))
		}
	}
	return bad
}
