// Package cache keeps finished golden images, one directory for each digest, and
// beside them the layers that builds go on from. It promises that what is found is
// whole, and that an image or a layer is made once, however many processes ask for it.
// It lists those that nobody uses, and removes one for whoever wants its room. How an
// image is built, and when room is wanted, is decided elsewhere.
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

	"github.com/google/renameio/v2"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// digestPattern is what image.Recipe.Digest returns; anything else must not
// become part of a path.
var digestPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// maxNote is how many bytes a manifest or a note may have. A recipe with many steps
// makes a manifest of some thousand.
const maxNote = 4 << 20

// Cache is a directory of golden images. Names in it that begin with a dot are
// the cache's own.
type Cache struct {
	dir string
	// noun is what is kept there, for messages.
	noun string
	used Users
}

// Users says what is used by something that does not hold it, by the digests.
type Users = func() (map[string]bool, error)

// New returns the cache in dir, which is made by the first build.
func New(dir string) *Cache { return &Cache{dir, "golden image", unusedByAnything} }

// With returns the cache with those who use its images, which builds replace none of; nil
// is nobody.
func (c *Cache) With(used Users) *Cache {
	if used == nil {
		used = unusedByAnything
	}
	return &Cache{c.dir, c.noun, used}
}

// Get finds the golden image with the digest; false says that there is none. A
// damaged one is an error of type Damaged. It is not built again by itself,
// since workers may still read its disk.
func (c *Cache) Get(digest string) (image.Golden, bool, error) {
	if !digestPattern.MatchString(digest) {
		return image.Golden{}, false, fmt.Errorf("%q is not the digest of a recipe: want 32 hexadecimal digits", digest)
	}
	dir, err := filepath.Abs(filepath.Join(c.dir, digest))
	if err != nil {
		return image.Golden{}, false, fmt.Errorf("golden image %s: %w", digest, err)
	}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return image.Golden{}, false, nil
	}
	if err := statefile.CheckDirectory(dir); err != nil {
		return image.Golden{}, false, image.Damaged{Dir: dir, Reason: err}
	}
	manifest, err := readManifest(filepath.Join(dir, image.ManifestFile), digest)
	golden := image.Golden{Dir: dir, Manifest: manifest}
	if err == nil {
		err = damage(golden)
	}
	if err != nil {
		return image.Golden{}, false, image.Damaged{Dir: dir, Reason: err}
	}
	return golden, true, nil
}

// damage finds a file of an image that is missing or has another size than at
// first, or a tree that is missing or empty. Contents are not read.
func damage(golden image.Golden) error {
	for _, name := range slices.Sorted(maps.Keys(golden.Files)) {
		info, err := os.Lstat(filepath.Join(golden.Dir, name))
		switch want := golden.Files[name]; {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("its %s is missing", name)
		case err != nil:
			return err
		case filepath.Base(name) != name || !info.Mode().IsRegular():
			return fmt.Errorf("its %s is not a regular file", name)
		case info.Size() != want:
			return fmt.Errorf("its %s has %d bytes, and was made with %d", name, info.Size(), want)
		}
	}
	if form := golden.Recipe.Form; form != image.Tree && form != image.ShiftedTree {
		return nil
	}
	entries, err := os.ReadDir(golden.Tree())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("its %s is missing", image.TreeDir)
	case err == nil && len(entries) == 0:
		return fmt.Errorf("its %s is empty", image.TreeDir)
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

func readManifest(path, digest string) (image.Manifest, error) {
	text, err := statefile.Read(path, maxNote)
	if err != nil {
		return image.Manifest{}, err
	}
	return parseManifest(text, digest)
}

// parseManifest looks at the version before anything else: the fields of a newer
// manifest may have other types.
func parseManifest(text []byte, digest string) (image.Manifest, error) {
	var head struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(text, &head) == nil && head.Version > image.ManifestVersion {
		return image.Manifest{}, fmt.Errorf("its manifest has version %d and this program knows %d: update the plugin",
			head.Version, image.ManifestVersion)
	}
	var manifest image.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return image.Manifest{}, fmt.Errorf("reading its manifest: %w", err)
	}
	switch {
	case manifest.Version < 1:
		return image.Manifest{}, fmt.Errorf("its manifest has version %d", manifest.Version)
	case manifest.Digest != digest:
		return image.Manifest{}, fmt.Errorf("its manifest is that of %s", manifest.Digest)
	}
	return manifest, nil
}

// WriteNote keeps what a backend knows of an image, such as keys to its machines,
// as JSON in a file of that name beside the manifest. Only its owner can read it.
func WriteNote(dir, name string, note any) error {
	text, err := json.MarshalIndent(note, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s of an image: %w", name, err)
	}
	if err := renameio.WriteFile(filepath.Join(dir, name), append(text, '\n'), 0o600,
		renameio.WithTempDir(dir)); err != nil {
		return fmt.Errorf("writing %s of an image: %w", name, diskspace.Explain(dir, err))
	}
	return nil
}

// ReadNote reads what WriteNote has kept. A missing or unreadable note is an error
// of type Damaged.
func ReadNote(dir, name string, note any) error {
	text, err := statefile.Read(filepath.Join(dir, name), maxNote)
	if err != nil {
		return image.Damaged{Dir: dir, Reason: err}
	}
	if err := json.Unmarshal(text, note); err != nil {
		return image.Damaged{Dir: dir, Reason: fmt.Errorf("reading %s: %w", filepath.Join(dir, name), err)}
	}
	return nil
}
