//go:build linux

package debootstrap

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source/debootstrap/apt"
)

// sourcesOf are the distribution's own sources with the components that are asked for, and
// then the others.
func sourcesOf(source image.Source, own []apt.Entry) ([]apt.Entry, error) {
	sources := slices.Clone(own)
	if len(source.Components) > 0 {
		for i := range sources {
			sources[i].Components = source.Components
		}
	}
	for i, line := range source.ExtraSources {
		extra, err := apt.ParseLine(line)
		if err != nil {
			return nil, fmt.Errorf("image.extra_sources[%d]: %w", i, err)
		}
		sources = append(sources, extra)
	}
	return sources, nil
}

// keysOf are the files of this host by which sources are checked.
func keysOf(sources []apt.Entry) (keys []string) {
	for _, source := range sources {
		for _, option := range source.Options {
			if option.Name != apt.SignedBy {
				continue
			}
			for _, file := range strings.Fields(option.Value) {
				if filepath.IsAbs(file) && !slices.Contains(keys, file) {
					keys = append(keys, file)
				}
			}
		}
	}
	return keys
}

// copyKeys puts files of this host into the root file system at the same paths, unless a
// package has put them there.
func copyKeys(root string, keys []string) error {
	for _, key := range keys {
		to := filepath.Join(root, key)
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		text, err := os.ReadFile(key)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
