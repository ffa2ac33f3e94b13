package apt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Read returns the entries of the files below dir, which is /etc/apt, in the
// order in which apt reads them.
func Read(dir string) ([]Entry, error) {
	paths, err := sourceFiles(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for package sources: %w", err)
	}
	var entries []Entry
	for _, path := range paths {
		found, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("package sources in %s: %w", path, err)
		}
		entries = append(entries, found...)
	}
	return entries, nil
}

func sourceFiles(dir string) ([]string, error) {
	paths := []string{filepath.Join(dir, "sources.list")}
	entries, err := os.ReadDir(filepath.Join(dir, "sources.list.d"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		if slices.Contains([]string{".list", ".sources"}, filepath.Ext(entry.Name())) {
			paths = append(paths, filepath.Join(dir, "sources.list.d", entry.Name()))
		}
	}
	return paths, nil
}

func readFile(path string) ([]Entry, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if filepath.Ext(path) == ".sources" {
		return expandMirrors(parseDeb822(string(text)))
	}
	entries, err := parseList(string(text))
	if err != nil {
		return nil, err
	}
	return expandMirrors(entries)
}

// expandMirrors replaces the path of a list of mirrors by the addresses in it:
// Debian's cloud images name their mirrors in this way, and a guest has no such
// file.
func expandMirrors(entries []Entry) ([]Entry, error) {
	for i, entry := range entries {
		var uris []string
		for _, uri := range entry.URIs {
			path, isList := strings.CutPrefix(uri, "mirror+file:")
			if !isList {
				uris = append(uris, uri)
				continue
			}
			text, err := os.ReadFile(filepath.Clean(path))
			if err != nil {
				return nil, fmt.Errorf("list of mirrors: %w", err)
			}
			uris = append(uris, mirrors(string(text))...)
		}
		entries[i].URIs = uris
	}
	return entries, nil
}

// mirrors reads a list of mirrors; what follows an address is a preference.
func mirrors(text string) []string {
	var uris []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			uris = append(uris, words[0])
		}
	}
	return uris
}
