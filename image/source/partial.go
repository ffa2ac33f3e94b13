package source

import (
	"errors"
	"io"
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// partial is a download that is not finished: the file with what has come so
// far, and beside it a file with the validator of what it is a part of.
type partial struct{ path string }

// maxValidator is how many bytes of what a server calls a file are kept.
const maxValidator = 4 << 10

func (p partial) validatorPath() string { return p.path + etagSuffix }

func (p partial) size() int64 {
	info, err := os.Stat(p.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func (p partial) validator() string {
	text, err := statefile.Read(p.validatorPath(), maxValidator)
	if err != nil {
		return ""
	}
	return string(text)
}

func (p partial) setValidator(value string) error {
	file, err := statefile.Open(p.validatorPath(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = file.WriteString(value[:min(len(value), maxValidator)])
	return errors.Join(err, file.Close())
}

// openAt opens the part to be continued at the offset start, and drops what it
// has beyond that.
func (p partial) openAt(start int64) (*os.File, error) {
	file, err := statefile.Open(p.path, os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if err := file.Truncate(start); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if _, err := file.Seek(start, io.SeekStart); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (p partial) remove() error {
	return errors.Join(os.RemoveAll(p.path), os.RemoveAll(p.validatorPath()))
}

// finish gives the whole file its name.
func (p partial) finish(path string) error {
	return errors.Join(os.Rename(p.path, path), os.RemoveAll(p.validatorPath()))
}
