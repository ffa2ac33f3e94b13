// Package pages reads the pages that people read, README.md and all below docs, for tests
// that hold what is in them. It judges nothing: who knows a language checks the blocks
// that are in it.
package pages

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Block is a block of code in a page.
type Block struct {
	// File is the page, from the top of the repository, and Line that of the block's first.
	File     string
	Line     int
	Language string
	Text     string
}

// Root is the top of the repository.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		above := filepath.Dir(dir)
		require.NotEqual(t, dir, above, "no go.mod above the test")
		dir = above
	}
}

// All are the paths of all pages, from the top of the repository.
func All(t testing.TB) []string {
	t.Helper()
	files := os.DirFS(Root(t))
	paths, err := fs.Glob(files, "*.md")
	require.NoError(t, err)
	require.NoError(t, fs.WalkDir(files, "docs", func(path string, entry fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			paths = append(paths, path)
		}
		return err
	}))
	require.NotEmpty(t, paths)
	return paths
}

// Read is the text of a page.
func Read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(t), path))
	require.NoError(t, err)
	return string(text)
}

// Blocks are the blocks of all pages. With languages, only theirs.
func Blocks(t testing.TB, languages ...string) (blocks []Block) {
	t.Helper()
	for _, path := range All(t) {
		for _, block := range parse(path, Read(t, path)) {
			if len(languages) == 0 || slices.Contains(languages, block.Language) {
				blocks = append(blocks, block)
			}
		}
	}
	require.NotEmpty(t, blocks, "no page has a block of %q", languages)
	return blocks
}

func parse(path, text string) (blocks []Block) {
	var open *Block
	indent := ""
	for number, line := range strings.Split(text, "\n") {
		before, fence, fenced := strings.Cut(line, "```")
		switch {
		case fenced && strings.TrimSpace(before) == "" && open == nil:
			open, indent = &Block{File: path, Line: number + 2, Language: strings.TrimSpace(fence)}, before
		case fenced && strings.TrimSpace(before) == "":
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.Text += strings.TrimPrefix(line, indent) + "\n"
		}
	}
	if open != nil {
		blocks = append(blocks, *open)
	}
	return blocks
}
