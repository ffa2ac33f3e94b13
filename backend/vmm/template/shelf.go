//go:build linux

package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

const (
	// makeLimit bounds the making of a template, but for the commands that its guest
	// runs to be warm.
	makeLimit = 10 * time.Minute
	// making begins the name of the directory of a template that is not whole yet,
	// and lockFile is locked by who makes or removes one.
	making   = ".making-"
	lockFile = ".lock"
	// forkFailures in a row take a template out of use: one may have had other
	// reasons, such as a host that was too busy.
	forkFailures = 2
	// mostBoots bounds how often a template is booted until its clock runs right.
	mostBoots = 3
)

// Shelf is the directory of a pool's templates: one of each golden image that workers
// are made from, or are about to be.
type Shelf struct {
	Dir string
	// WarmLimit bounds the commands that make a template warm, all together.
	WarmLimit time.Duration

	mu sync.Mutex
	// failures counts the forks that failed in a row, by the directories of templates.
	failures map[string]int
}

// maxTemplate is how many bytes the file of a template may have.
const maxTemplate = 64 << 10

// Load returns the template with that basis, if there is one.
func (s *Shelf) Load(wanted Basis) (Template, bool) {
	t := Template{Dir: filepath.Join(s.Dir, wanted.Key())}
	text, err := statefile.Read(filepath.Join(t.Dir, templateFile), maxTemplate)
	if err != nil || json.Unmarshal(text, &t) != nil || t.Format != "raw" && t.Format != "qcow2" {
		return Template{}, false
	}
	return t, t.Basis.Key() == wanted.Key()
}

// Prepare has the template made, unless it is there, and removes others, but for
// those of the golden images beside it, by their digests. save fills the directory of
// the template that it gets, under a temporary name, and sets the template's Format.
func (s *Shelf) Prepare(
	ctx context.Context, wanted Basis, beside []string, save func(context.Context, *Template) error,
) (err error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("directory of templates: %w", diskspace.Explain(s.Dir, err))
	}
	lock, err := filelock.Acquire(ctx, filepath.Join(s.Dir, lockFile))
	if err != nil {
		return fmt.Errorf("waiting for another template: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	beside = slices.DeleteFunc(slices.Clone(beside), func(digest string) bool { return digest == wanted.Golden })
	stays := func(name string) bool { return name == wanted.Key() || s.isOf(name, beside) }
	if err := s.remove(stays); err != nil {
		return err
	}
	if _, ok := s.Load(wanted); ok {
		return nil
	}
	for boots := 1; ; boots++ {
		err := s.make(ctx, wanted, save)
		if err == nil {
			return nil
		}
		err = errors.Join(fmt.Errorf("making the template: %w", err), s.remove(stays))
		if boots == mostBoots || !errors.Is(err, errClock) {
			return err
		}
	}
}

func (s *Shelf) make(ctx context.Context, wanted Basis, save func(context.Context, *Template) error) error {
	began := time.Now()
	limit := makeLimit + s.WarmLimit
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	work, err := os.MkdirTemp(s.Dir, making)
	if err != nil {
		return diskspace.Explain(s.Dir, err)
	}
	t := Template{Dir: work, Basis: wanted}
	if err := save(ctx, &t); err != nil {
		return diskspace.Suspect(s.Dir, err) // while all is there that it wrote
	}
	t.MadeAt, t.MadeSeconds = time.Now().UTC().Truncate(time.Second), time.Since(began).Seconds()
	if err := t.write(); err != nil {
		return diskspace.Explain(s.Dir, err)
	}
	final := filepath.Join(s.Dir, wanted.Key())
	return errors.Join(os.RemoveAll(final), os.Rename(work, final)) // one that is there was discarded
}

// Clear removes all templates, and the orphans of killed makers.
func (s *Shelf) Clear() error { return s.remove(func(string) bool { return false }) }

// isOf says whether a template is whole, and of one of the golden images.
func (s *Shelf) isOf(name string, goldens []string) bool {
	digest, err := s.goldenOf(name)
	return err == nil && isWhole(filepath.Join(s.Dir, name)) && slices.Contains(goldens, digest)
}

func (s *Shelf) remove(stays func(name string) bool) error {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing templates: %w", err)
	}
	var failed []error
	for _, entry := range entries {
		if entry.IsDir() && !stays(entry.Name()) {
			failed = append(failed, os.RemoveAll(filepath.Join(s.Dir, entry.Name())))
		}
	}
	return errors.Join(failed...)
}

// Worked says that a fork of the template is well.
func (s *Shelf) Worked(t Template) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failures, t.Dir)
}

// count counts a fork that failed, from zero again after forkFailures.
func (s *Shelf) count(t Template) (all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures == nil {
		s.failures = make(map[string]int)
	}
	s.failures[t.Dir]++
	if all = s.failures[t.Dir]; all == forkFailures {
		delete(s.failures, t.Dir)
	}
	return all
}

// Failed counts a fork that failed, and takes its template out of use when it
// is not the first in a row. The forks that use it already keep its files open.
func (s *Shelf) Failed(t Template) error {
	if s.count(t) < forkFailures {
		return nil
	}
	if err := os.Remove(filepath.Join(t.Dir, templateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("discarding a template: %w", err)
	}
	return nil
}
