package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
)

// Names in the directory of downloads.
const (
	urlPrefix  = "url-"
	partSuffix = ".part"
	etagSuffix = ".etag"
	lockSuffix = ".lock"
)

// rest is how long ago a download was asked for when it may be removed. Who fetches
// a file opens it at once, but no longer holds its lock then.
const rest = time.Hour

// touch notes that a download was asked for now.
func touch(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}

// Unfinished lists downloads that were cut and that nobody goes on with now, and
// finished ones that the next build would download again all the same.
func (h HTTPS) Unfinished() ([]diskspace.Leftover, error) {
	return h.leftovers(func(name string) (what string) {
		switch {
		case strings.HasSuffix(name, partSuffix):
			return "unfinished download"
		case strings.HasPrefix(name, urlPrefix):
			return "download of unknown digest"
		}
		return ""
	})
}

// Finished lists finished downloads that builds could use again.
func (h HTTPS) Finished() ([]diskspace.Leftover, error) {
	return h.leftovers(func(name string) (what string) {
		if strings.HasPrefix(name, "sha") && !strings.HasSuffix(name, partSuffix) {
			return "download"
		}
		return ""
	})
}

func (h HTTPS) leftovers(kind func(name string) (what string)) (found []diskspace.Leftover, err error) {
	entries, err := os.ReadDir(h.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing downloads: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		what := kind(name)
		if what == "" || strings.HasSuffix(name, lockSuffix) || strings.HasSuffix(name, etagSuffix) {
			continue
		}
		path := filepath.Join(h.Dir, name)
		bytes, err := diskspace.Taken(path)
		if err != nil || !removable(path) {
			continue // such as one that has become whole meanwhile
		}
		found = append(found, diskspace.Leftover{
			What: what + " " + name, Bytes: bytes, Remove: func() (bool, error) { return removeDownload(path) },
		})
	}
	return found, nil
}

// removable says whether nobody downloads the file, or was given it just now.
func removable(path string) bool {
	lock, err := lockDownload(path)
	if lock == nil || err != nil {
		return false
	}
	defer lock.Release()
	return isAtRest(path)
}

func removeDownload(path string) (removed bool, err error) {
	lock, err := lockDownload(path)
	if lock == nil {
		return false, err
	}
	defer lock.Release()
	if !isAtRest(path) {
		return false, nil
	}
	return true, errors.Join(os.RemoveAll(path), os.RemoveAll(path+etagSuffix))
}

// lockDownload takes the lock of a download, whole or in part, if it is free.
func lockDownload(path string) (*filelock.Lock, error) {
	return filelock.TryAcquire(strings.TrimSuffix(path, partSuffix) + lockSuffix)
}

// isAtRest says whether it is long enough that a finished download was asked for. A
// part is protected by its lock alone.
func isAtRest(path string) bool {
	info, err := os.Stat(path)
	return err == nil && (strings.HasSuffix(path, partSuffix) || time.Since(info.ModTime()) > rest)
}
