package lines

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// followPause is how long Follow waits at the end of a file before it looks for more.
const followPause = 100 * time.Millisecond

// Follow copies a file, and what is added to it, until over says, at the end of the file,
// that no more will come, or until ctx ends. A file that was cut, or that another has taken
// the place of, is read from its beginning. open opens what has the file's name now.
func Follow(ctx context.Context, open func() (*os.File, error), over func() bool, to io.Writer) error {
	file, err := open()
	if err != nil {
		return err
	}
	defer func() { file.Close() }()
	for {
		last := over() || ctx.Err() != nil // asked before the rest is read, so that nothing is missed
		if _, err := io.Copy(to, file); err != nil {
			return err
		}
		next, err := successor(file, open)
		switch {
		case err != nil:
			return err
		case next != nil:
			_ = file.Close()
			file = next
			continue
		case last:
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(followPause):
		}
	}
}

// successor is what is to be read from its beginning in place of a file that was read to
// its end; nil when more may be added to that.
func successor(file *os.File, open func() (*os.File, error)) (*os.File, error) {
	now, err := open()
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	was, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, now.Close())
	}
	is, err := now.Stat()
	if err != nil {
		return nil, errors.Join(err, now.Close())
	}
	read, err := file.Seek(0, io.SeekCurrent)
	if err == nil && os.SameFile(was, is) && is.Size() >= read {
		return nil, now.Close()
	}
	return now, err
}
