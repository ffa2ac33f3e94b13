// Package diskspace says how much room a file system has, tells errors that come
// from a full one from others, and puts the directory and a remedy into them. It
// measures what could be removed to make room. When that is done, and what may
// go, is not decided here.
package diskspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Room is what a file system has left.
type Room struct {
	// Free is what users other than root may still write, in bytes, and Size what
	// the file system holds.
	Free, Size int64
	// Files is how many more files and directories it takes; below zero where it
	// sets no limit.
	Files int64
}

// Of looks at the file system that a directory is on, or would be.
func Of(dir string) (Room, error) {
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		return Of(parent)
	}
	if err != nil {
		return Room{}, fmt.Errorf("asking for the space that is free at %s: %w", dir, err)
	}
	room := Room{Free: int64(s.Bavail) * int64(s.Bsize), Size: int64(s.Blocks) * int64(s.Bsize), Files: -1}
	if s.Files > 0 { // btrfs counts none
		room.Files = int64(s.Ffree)
	}
	return room, nil
}

// Taken is about how many bytes the removal of a file, or of a directory with
// all below it, frees: files that have a name elsewhere too are not counted, and
// blocks that two files share are counted for each.
func Taken(path string) (int64, error) {
	var bytes int64
	err := filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && (entry.IsDir() || stat.Nlink == 1) {
			bytes += int64(stat.Blocks) * 512
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) { // removed meanwhile, in part or as a whole
		return bytes, nil
	}
	return bytes, err
}

// Leftover is something that may be removed to make room.
type Leftover struct {
	// What names it for people, such as "unfinished build of image …".
	What string
	// Bytes is about what its removal frees.
	Bytes int64
	// Remove removes it, unless somebody has come to use it meanwhile: then it is
	// left as it is, and removed is false.
	Remove func() (removed bool, err error)
}

// Remove is the usual Leftover.Remove of a path that nobody can come to use.
func Remove(path string) func() (bool, error) {
	return func() (bool, error) { return true, os.RemoveAll(path) }
}
