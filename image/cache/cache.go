// Package cache keeps finished golden images, one directory for each digest.
// It promises that what is found is whole, and that an image is built once
// however many processes ask for it. How an image is built, and when it is no
// longer needed, is decided elsewhere.
package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// digestPattern is what image.Recipe.Digest returns; anything else must not
// become part of a path.
var digestPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Cache is a directory of golden images. Names in it that begin with a dot are
// the cache's own.
type Cache struct{ dir string }

// New returns the cache in dir, which is made by the first build.
func New(dir string) *Cache { return &Cache{dir} }

// Get finds the golden image with the digest; false says that there is none. A
// damaged one is an error, and not built again: workers may live on its disk.
func (c *Cache) Get(digest string) (image.Golden, bool, error) {
	if err := checkDigest(digest); err != nil {
		return image.Golden{}, false, err
	}
	dir, err := filepath.Abs(filepath.Join(c.dir, digest))
	if err != nil {
		return image.Golden{}, false, fmt.Errorf("golden image %s: %w", digest, err)
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return image.Golden{}, false, nil
	}
	manifest, err := readManifest(filepath.Join(dir, image.ManifestFile), digest)
	golden := image.Golden{Dir: dir, Manifest: manifest}
	if err == nil {
		err = damage(golden)
	}
	if err != nil {
		return image.Golden{}, false, Damaged{dir, err}
	}
	return golden, true, nil
}

// Damaged is the error of an image that cannot be used, and that nobody but a
// user may remove.
type Damaged struct {
	Dir    string
	Reason error
}

// Error says how to mend it, too.
func (d Damaged) Error() string {
	return fmt.Sprintf("golden image %s: %v; remove that directory to have it built again", d.Dir, d.Reason)
}

func (d Damaged) Unwrap() error { return d.Reason }

// damage finds what is missing of an image. Contents are not read.
func damage(golden image.Golden) error {
	for _, name := range slices.Sorted(maps.Keys(golden.Files)) {
		if err := checkSize(golden.Dir, name, golden.Files[name]); err != nil {
			return err
		}
	}
	if form := golden.Recipe.Form; form == image.Tree || form == image.ShiftedTree {
		return checkTree(golden.Tree())
	}
	return nil
}

func checkSize(dir, name string, want int64) error {
	info, err := os.Stat(filepath.Join(dir, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("its %s is missing", name)
	case err == nil && info.Size() != want:
		return fmt.Errorf("its %s has %d bytes, and was made with %d", name, info.Size(), want)
	}
	return err
}

func checkTree(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("its %s is missing", filepath.Base(dir))
	case err == nil && len(entries) == 0:
		return fmt.Errorf("its %s is empty", filepath.Base(dir))
	}
	return err
}

// List returns the golden images, ordered by digest. Those that cannot be read
// do not hide the others: they are in the error, beside the result.
func (c *Cache) List() ([]image.Golden, error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing golden images: %w", err)
	}
	var found []image.Golden
	var damaged []error
	for _, entry := range entries {
		if !digestPattern.MatchString(entry.Name()) {
			continue
		}
		golden, ok, err := c.Get(entry.Name())
		if err != nil {
			damaged = append(damaged, err)
		}
		if ok {
			found = append(found, golden)
		}
	}
	return found, errors.Join(damaged...)
}

func checkDigest(digest string) error {
	if !digestPattern.MatchString(digest) {
		return fmt.Errorf("%q is no digest of a recipe: want 32 hexadecimal digits", digest)
	}
	return nil
}

func readManifest(path, digest string) (image.Manifest, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return image.Manifest{}, err
	}
	var manifest image.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return image.Manifest{}, fmt.Errorf("reading its manifest: %w", err)
	}
	switch {
	case manifest.Version > image.ManifestVersion:
		return image.Manifest{}, fmt.Errorf("its manifest has version %d and this program knows %d: update the plugin", manifest.Version, image.ManifestVersion)
	case manifest.Version < 1:
		return image.Manifest{}, fmt.Errorf("its manifest has version %d", manifest.Version)
	case manifest.Digest != digest:
		return image.Manifest{}, fmt.Errorf("its manifest is that of %s", manifest.Digest)
	}
	return manifest, nil
}
