// Package claim keeps who has what of a limited stock, such as addresses, in a
// directory that all pools of a host share: one small file for each claim, its
// name what is claimed, its content the owner. Several processes may use the
// directory at once. What is claimed, and whether the kernel agrees, is its
// users' business.
package claim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// ErrNoneLeft says that all of the stock is claimed.
var ErrNoneLeft = errors.New("every one is taken")

// patience bounds the wait for the lock where the caller gives no context. A
// holder needs milliseconds, more on a busy disk; one that needs longer than this
// is stopped or stuck.
const patience = time.Minute

// Stock is what a book gives out. The names of all stocks in one directory differ.
type Stock struct {
	// Name is part of a file's name: that of the file with the name given last.
	Name string
	// Size is how many there are.
	Size int
	// After is the next of the stock, and its first after the last one and after
	// what is not of the stock.
	After func(name string) string
	// Valid tells the names of any stock of this kind from other files.
	Valid func(name string) bool
	// Busy, if there is such a function, says that one is in use although nobody has
	// claimed it here.
	Busy func(name string) bool
}

// Book is the list of claims. It keeps nothing in memory: all of it is in the
// directory, and every change is made under a lock there that the kernel releases
// when its holder dies.
type Book struct {
	dir   string
	stock Stock
}

// New returns the book in dir. The first Take makes the directory; until then
// nothing is claimed.
func New(dir string, stock Stock) *Book { return &Book{dir, stock} }

// maxOwner is how many bytes the name of an owner may have. Those of ours have
// some fifty.
const maxOwner = 255

// Take gives the owner the next free one after the one given last, so that what
// was just given back rests before somebody else has it. An owner that takes
// twice holds two; after an error it holds no more than before.
func (b *Book) Take(ctx context.Context, owner string) (string, error) {
	if owner == "" || len(owner) > maxOwner {
		return "", fmt.Errorf("owner %q has not 1 to %d bytes", owner, maxOwner)
	}
	if err := ctx.Err(); err != nil { // a lock that is free does not look at it
		return "", err
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return "", fmt.Errorf("making the directory of claims: %w", diskspace.Explain(b.dir, err))
	}
	lock, err := filelock.Acquire(ctx, b.lockFile())
	if err != nil {
		return "", err
	}
	defer lock.Release()

	name := b.last()
	for range b.stock.Size {
		name = b.stock.After(name)
		if b.stock.Busy != nil && b.stock.Busy(name) {
			continue
		}
		taken, err := b.claim(name, owner)
		if err == nil && taken {
			if err = b.remember(name); err == nil {
				return name, nil
			}
			err = errors.Join(err, os.Remove(b.path(name)))
		}
		if err != nil {
			return "", diskspace.Explain(b.dir, err)
		}
	}
	return "", ErrNoneLeft
}

// Give gives back those of the names, as Held returns them, that are still the
// owner's. It is idempotent.
func (b *Book) Give(owner string, held []string) error {
	if len(held) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	lock, err := filelock.Acquire(ctx, b.lockFile())
	if err != nil {
		return err
	}
	defer lock.Release()

	var errs []error
	for _, name := range held {
		now, err := b.owner(name)
		if err == nil && now == owner {
			err = os.Remove(b.path(name))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Held returns what the owner has, in order, of every stock in the directory.
func (b *Book) Held(owner string) ([]string, error) {
	owners, err := b.Owners()
	if err != nil {
		return nil, err
	}
	var held []string
	for name, o := range owners {
		if o == owner {
			held = append(held, name)
		}
	}
	slices.Sort(held)
	return held, nil
}

// Owners returns who has what, of every stock in the directory. It takes no lock,
// so that nobody waits while it reads a file for each claim: what is taken or
// given back meanwhile may be in it or not. What no book has written has no owner:
// Foreign tells of it.
func (b *Book) Owners() (map[string]string, error) {
	names, err := b.names()
	if err != nil {
		return nil, err
	}
	owners := make(map[string]string)
	for _, name := range names {
		owner, err := b.owner(name)
		if err != nil && !errors.Is(err, statefile.ErrForeign) {
			return nil, err
		}
		if owner != "" {
			owners[name] = owner
		}
	}
	return owners, nil
}

// Foreign says what lies in the place of claims and no book has written. Nobody is
// given what has such a name.
func (b *Book) Foreign() (found []error) {
	names, err := b.names()
	if err != nil {
		return []error{err}
	}
	for _, name := range names {
		if _, err := b.owner(name); err != nil {
			found = append(found, err)
		}
	}
	return found
}

// names are those of the claims' files: not the lock's, nor that of the memory of
// what was given last.
func (b *Book) names() (names []string, err error) {
	entries, err := os.ReadDir(b.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing claims: %w", err)
	}
	for _, entry := range entries {
		if b.stock.Valid(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// owner returns who has claimed it, and nobody when it is free.
func (b *Book) owner(name string) (string, error) {
	text, err := statefile.Read(b.path(name), maxOwner)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading who has %s: %w", name, err)
	}
	return string(text), nil
}

// claim writes the owner's name to the file unless somebody has claimed it. An
// empty file is what a crash between making and writing it leaves, and means that
// it is free. What no book has written means that it is taken. Nothing is synced: a
// power cut ends what claims are for too.
func (b *Book) claim(name, owner string) (bool, error) {
	f, err := statefile.Open(b.path(name), os.O_RDWR|os.O_CREATE)
	if errors.Is(err, statefile.ErrForeign) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("taking %s: %w", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("taking %s: %w", name, err)
	}
	if info.Size() > 0 {
		return false, nil
	}
	if _, err := f.WriteString(owner); err != nil {
		return false, fmt.Errorf("taking %s for %s: %w", name, owner, errors.Join(err, os.Remove(f.Name())))
	}
	return true, nil
}

// last returns what was given last; nothing when that is not known, after which
// the first of the stock comes.
func (b *Book) last() string {
	text, _ := statefile.Read(b.memory(), maxOwner)
	return strings.TrimSpace(string(text))
}

// noteWidth is at least the length of the longest name.
const noteWidth = len("255.255.255.255")

// remember writes over what was there, which needs no room on a full disk: an
// empty file would have the stock begin anew. All notes have one length.
func (b *Book) remember(name string) error {
	file, err := statefile.Open(b.memory(), os.O_WRONLY|os.O_CREATE)
	if err == nil {
		_, err = fmt.Fprintf(file, "%-*s\n", noteWidth, name)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return fmt.Errorf("noting %s as given last: %w", name, err)
	}
	return nil
}

func (b *Book) lockFile() string { return filepath.Join(b.dir, "lock") }

// memory is the file that names what was given last of this stock.
func (b *Book) memory() string { return filepath.Join(b.dir, "last-"+b.stock.Name) }

func (b *Book) path(name string) string { return filepath.Join(b.dir, name) }
