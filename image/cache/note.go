package cache

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// WriteNote keeps what a backend knows of an image beside its manifest, keys to
// its machines for instance: in a file of that name in the image's directory,
// which only its owner can read.
func WriteNote(dir, name string, note any) error {
	text, err := json.MarshalIndent(note, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s of an image: %w", name, err)
	}
	if err := renameio.WriteFile(filepath.Join(dir, name), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing %s of an image: %w", name, err)
	}
	return nil
}

// ReadNote reads what WriteNote has kept.
func ReadNote(dir, name string, note any) error {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return Damaged{dir, err}
	}
	if err := json.Unmarshal(text, note); err != nil {
		return Damaged{dir, fmt.Errorf("reading %s: %w", filepath.Join(dir, name), err)}
	}
	return nil
}
