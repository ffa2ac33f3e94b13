package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

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

func parseDirectory(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is not an absolute path", path)
	}
	return filepath.Clean(path), nil
}

func parseLoginUser(name string) (string, error) {
	if !guest.ValidUser(name) {
		return "", fmt.Errorf("%q is no name for an account: write a-z or _, then up to 31 of a-z, 0-9, _, . and -", name)
	}
	return name, nil
}

func parsePassword(text string) (string, error) {
	if text == "" {
		return "", errors.New("empty: write the password that the image has, or remove it")
	}
	return text, nil
}
