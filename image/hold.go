package image

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
)

// Hold keeps the image from being removed to make room, until it is released or
// this process ends, and notes that the image is used. The error wraps
// fs.ErrNotExist when it was removed before.
func (g Golden) Hold(ctx context.Context) (release func() error, err error) {
	if g.Dir == "" { // an image without files
		return func() error { return nil }, nil
	}
	lock, err := filelock.ShareDirectory(ctx, g.Dir)
	if err != nil {
		return nil, fmt.Errorf("holding golden image %s: %w", g.Digest, err)
	}
	if !lock.IsOf(g.Dir) {
		_ = lock.Release()
		return nil, fmt.Errorf("holding golden image %s: %w", g.Digest, fs.ErrNotExist)
	}
	g.NoteUse()
	return func() error { g.NoteUse(); return lock.Release() }, nil
}

// NoteUse notes that the image is used now, in the directory's own time. One that
// cannot be noted, such as that of an image that a user has removed, makes it only look
// older.
func (g Golden) NoteUse() {
	now := time.Now()
	_ = os.Chtimes(g.Dir, now, now)
}
