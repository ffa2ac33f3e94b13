//go:build linux

package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/filelock"
)

// Names of the files of a template, in its directory.
const (
	templateFile = "template.json"
	memoryFile   = "memory"
	stateFile    = "state"
	diskFile     = "disk"
	// baseFile is a worker's own name for the template's disk.
	baseFile = "base"
)

// template is a golden image that was booted once, and saved with its memory.
type template struct {
	dir string
	// Format is that of its disk, and Basis what it is valid for.
	Format string `json:"format"`
	Basis  basis  `json:"basis"`
	// MadeAt is when, and MadeSeconds how long it took.
	MadeAt      time.Time `json:"made_at"`
	MadeSeconds float64   `json:"made_seconds"`
}

func (t template) memory() string { return filepath.Join(t.dir, memoryFile) }
func (t template) state() string  { return filepath.Join(t.dir, stateFile) }
func (t template) disk() string   { return filepath.Join(t.dir, diskFile) }

// basis is everything that a template depends on. Saved memory only fits a
// machine of the same make: another QEMU, processor, kernel of the host, image
// or size means another template.
type basis struct {
	Golden string       `json:"golden"`
	Size   backend.Size `json:"size"`
	Host   string       `json:"host_kernel"`
	platform
}

// platform is what saved memory of any kind depends on.
type platform struct {
	Accel   string    `json:"acceleration"`
	CPU     string    `json:"cpu"`
	Binary  string    `json:"binary"`
	Changed time.Time `json:"binary_changed"`
}

// key names the template's directory.
func (b basis) key() string {
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // a basis holds only strings, numbers and a time
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

func (b *Backend) basis(golden image.Golden, size backend.Size, accel string) (basis, error) {
	platform, err := b.platform(accel)
	if err != nil {
		return basis{}, err
	}
	var host unix.Utsname
	if err := unix.Uname(&host); err != nil {
		return basis{}, fmt.Errorf("asking for the host's kernel: %w", err)
	}
	return basis{
		Golden: golden.Digest, Size: size, platform: platform,
		Host: unix.ByteSliceToString(host.Release[:]) + " " + unix.ByteSliceToString(host.Version[:]),
	}, nil
}

func (b *Backend) platform(accel string) (platform, error) {
	path, err := exec.LookPath(b.options.Binary)
	if err != nil {
		return platform{}, fmt.Errorf("finding QEMU: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return platform{}, fmt.Errorf("finding QEMU: %w", err)
	}
	cpu, err := processor()
	return platform{Accel: accel, CPU: cpu, Binary: path, Changed: info.ModTime().UTC()}, err
}

// template returns the valid template for such a worker.
func (b *Backend) template(golden image.Golden, size backend.Size, acceleration Acceleration) (template, bool) {
	if !b.options.Fork {
		return template{}, false
	}
	wanted, err := b.basis(golden, size, acceleration.Name)
	if err != nil {
		return template{}, false // and Start says why, when QEMU is not there
	}
	return b.load(wanted)
}

// load returns the template with that basis, if there is one.
func (b *Backend) load(wanted basis) (template, bool) {
	t := template{dir: filepath.Join(b.options.TemplatesDir, wanted.key())}
	text, err := os.ReadFile(filepath.Join(t.dir, templateFile))
	if err != nil || json.Unmarshal(text, &t) != nil {
		return template{}, false
	}
	return t, t.Basis.key() == wanted.key()
}

// Prepare makes the template under a temporary name, and renames it. Where
// there are to be no forks, it only removes what was made before.
func (b *Backend) Prepare(ctx context.Context, golden image.Golden, size backend.Size, progress image.Progress) (err error) {
	if !b.options.Fork {
		return b.removeTemplates("")
	}
	acceleration, err := b.acceleration(ctx, golden.Kernel())
	if err != nil {
		return err
	}
	wanted, err := b.basis(golden, size, acceleration.Name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.options.TemplatesDir, 0o700); err != nil {
		return fmt.Errorf("directory of templates: %w", err)
	}
	lock, err := filelock.Acquire(ctx, filepath.Join(b.options.TemplatesDir, ".lock"))
	if err != nil {
		return fmt.Errorf("waiting for another template: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := b.removeTemplates(wanted.key()); err != nil {
		return err
	}
	if _, ok := b.load(wanted); ok {
		return nil
	}
	if err := b.makeTemplate(ctx, golden, wanted, progress); err != nil {
		return errors.Join(fmt.Errorf("making the template: %w", err), b.removeTemplates(""))
	}
	return nil
}

// removeTemplates removes all but one, and what killed makers left.
func (b *Backend) removeTemplates(except string) error {
	entries, err := os.ReadDir(b.options.TemplatesDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing templates: %w", err)
	}
	var failed []error
	for _, entry := range entries {
		if entry.IsDir() && entry.Name() != except {
			failed = append(failed, os.RemoveAll(filepath.Join(b.options.TemplatesDir, entry.Name())))
		}
	}
	return errors.Join(failed...)
}

// discard takes a template out of use that has made no good fork. The forks
// that use it already keep its files open.
func (b *Backend) discard(t template) error {
	if err := os.Remove(filepath.Join(t.dir, templateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("discarding a template: %w", err)
	}
	return nil
}
