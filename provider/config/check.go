package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// oneOf takes a word out of a few.
func oneOf(words ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		if !slices.Contains(words, text) {
			return "", fmt.Errorf("unknown word %q: write one of %s", text, strings.Join(words, ", "))
		}
		return text, nil
	}
}

// matching takes what a pattern matches. Of anything else it says the reason,
// which is what follows the value in a sentence.
func matching(pattern *regexp.Regexp, reason string) func(string) (string, error) {
	return func(text string) (string, error) {
		if !pattern.MatchString(text) {
			return "", fmt.Errorf("%q %s", text, reason)
		}
		return text, nil
	}
}

// between takes the numbers from least to most.
func between(least, most int64) func(int64) error {
	return func(n int64) error {
		if n < least || n > most {
			return fmt.Errorf("%d is out of range: write a number from %d to %d", n, least, most)
		}
		return nil
	}
}

// atLeast takes the numbers from least on. Of a smaller one it says the reason,
// which is what follows the value in a sentence.
func atLeast(least int64, reason string) func(int64) error {
	return func(n int64) error {
		if n < least {
			return fmt.Errorf("%d %s", n, reason)
		}
		return nil
	}
}

func parsePath(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is not an absolute path", path)
	}
	return filepath.Clean(path), nil
}

func parseLoginUser(name string) (string, error) {
	if !guest.ValidUser(name) {
		return "", fmt.Errorf("%q is not a valid name of an account: "+
			"write a-z or _, then up to 31 of a-z, 0-9, _, . and -", name)
	}
	return name, nil
}

func parsePassword(text string) (string, error) {
	if text == "" {
		return "", errors.New("empty: write the password that the image has, or remove it")
	}
	return text, nil
}

func isSpaceOrControl(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
