// Package statefile opens the small files of the state directory, and looks at the
// directories in it. What lies there may have been left by a crash, a person or a
// machine that broke out: nothing is followed, waited for or read without a limit.
// What the files say, and what becomes of one that is refused, is for whoever asks.
package statefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ErrForeign says that what lies at a path is nothing that this program has made.
var ErrForeign = errors.New("not made by this program")

// Open opens a file of ours by the flags of os.OpenFile, and makes it, for its
// owner alone, where they have os.O_CREATE. A link, a pipe, a directory, or a file
// of another user is an error that wraps ErrForeign.
func Open(path string, flags int) (*os.File, error) {
	// A pipe would have the opening wait for its other end, unless told not to.
	file, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, explain(path, err)
	}
	info, err := file.Stat()
	if err == nil {
		err = check(path, info, 0)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// explain says what lies at a path that could not be opened, where that is why.
func explain(path string, err error) error {
	if info, found := os.Lstat(path); found == nil {
		if foreign := check(path, info, 0); foreign != nil {
			return foreign
		}
	}
	return err
}

// Read reads a file of ours, which may have so many bytes at most. A larger one is
// an error that wraps ErrForeign.
func Read(path string, limit int64) ([]byte, error) {
	file, err := Open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%w: %s has more than %d bytes", ErrForeign, path, limit)
	}
	if err != nil {
		return nil, err
	}
	return text, nil
}

// CheckDirectory refuses what stands in the place of a directory of ours: a link,
// by which we would write or remove elsewhere, a file, or a directory of another
// user, who could put anything into it. A path at which nothing lies is no error.
func CheckDirectory(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return check(path, info, fs.ModeDir)
}

// check compares a file's type, and its owner, with what ours have.
func check(path string, info fs.FileInfo, want fs.FileMode) error {
	if kind := info.Mode().Type(); kind != want {
		return fmt.Errorf("%w: %s is a %s, and should be a %s", ErrForeign, path, name(kind), name(want))
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if us := uint32(os.Geteuid()); owner != us && owner != 0 {
		return fmt.Errorf("%w: %s belongs to user %d, and should belong to user %d", ErrForeign, path, owner, us)
	}
	return nil
}

func name(kind fs.FileMode) string {
	switch kind {
	case 0:
		return "regular file"
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "symbolic link"
	case fs.ModeNamedPipe:
		return "pipe"
	}
	return "file of type " + kind.String()
}
