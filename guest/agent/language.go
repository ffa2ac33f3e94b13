//go:build linux

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
)

// environmentFile is what PAM gives to everyone who logs in, before the files of
// languages below, which may say otherwise.
const environmentFile = "etc/environment"

// languageFiles are where distributions keep the language of a system.
var languageFiles = []string{environmentFile, "etc/default/locale", "etc/locale.conf"}

var setsLanguage = regexp.MustCompile(`(?m)^\s*(export\s+)?LANG=`)

// speakUTF8 sets the language of jobs, unless the image has one: without any, programs
// take text for ASCII.
func (a *agent) speakUTF8() error {
	for _, name := range languageFiles {
		text, err := os.ReadFile(a.path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("looking for the image's language: %w", err)
		}
		if setsLanguage.Match(text) {
			return nil
		}
	}
	return a.addLine(environmentFile, "LANG=C.UTF-8")
}

// addLine puts a line at the end of a file of the image.
func (a *agent) addLine(name, line string) error {
	text, err := os.ReadFile(a.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	return a.write(name, string(text)+line+"\n", 0o644)
}
