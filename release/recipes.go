package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"text/template"
)

// recipe is a file from which a package manager of others makes its package.
type recipe struct {
	// template is below packaging/, and file below the release.
	template, file string
	needs          []platform
}

var (
	homebrew = []platform{{"darwin", "arm64"}, {"darwin", "amd64"}, {"linux", "arm64"}, {"linux", "amd64"}}
	freebsd  = []platform{{"freebsd", "amd64"}, {"freebsd", "arm64"}}
)

var recipes = []recipe{
	{"mayfly.rb", "homebrew/fleeting-plugin-mayfly.rb", homebrew},
	{"freebsd/Makefile", "freebsd-port/Makefile", freebsd},
	{"freebsd/distinfo", "freebsd-port/distinfo", freebsd},
	{"freebsd/pkg-descr", "freebsd-port/pkg-descr", freebsd},
}

// fillRecipes writes the recipes for whose platforms there are programs.
func (r release) fillRecipes() error {
	for _, recipe := range recipes {
		if slices.ContainsFunc(recipe.needs, func(p platform) bool { return !slices.Contains(r.platforms, p) }) {
			continue
		}
		text, err := fill(filepath.Join("release/packaging", recipe.template), ingredients{r})
		if err != nil {
			return fmt.Errorf("writing %s: %w", recipe.file, err)
		}
		path := r.path(recipe.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func fill(file string, with ingredients) ([]byte, error) {
	parsed, err := template.ParseFiles(file)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = parsed.Execute(&text, with)
	return text.Bytes(), err
}

// ingredients are what templates of recipes ask for.
type ingredients struct{ release release }

// Homepage is the project's.
func (ingredients) Homepage() string { return repository }

// Version is the release's.
func (i ingredients) Version() string { return i.release.version }

// Timestamp is that of the source, in seconds since 1970.
func (i ingredients) Timestamp() int64 { return i.release.made.Unix() }

// Downloads is where the release is offered: GitLab keeps links to its files there.
func (i ingredients) Downloads() string {
	return repository + "/-/releases/v" + i.release.version + "/downloads"
}

// URL is where the program for a platform is offered.
func (i ingredients) URL(system, arch string) string {
	return i.Downloads() + "/" + platform{system, arch}.binary()
}

// SHA256 is that of the program for a platform.
func (i ingredients) SHA256(system, arch string) (string, error) {
	return sha256Of(i.release.path(platform{system, arch}.binary()))
}

// Size is that of the program for a platform, in bytes.
func (i ingredients) Size(system, arch string) (int64, error) {
	info, err := os.Stat(i.release.path(platform{system, arch}.binary()))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
