package seed

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// place makes the file src appear as dst, as a second name of it where that is
// possible: a gitlab-runner has 90 MB.
func place(src, dst string) error {
	resolved, err := filepath.EvalSymlinks(src)
	if err != nil {
		return err
	}
	if os.Link(resolved, dst) == nil {
		return nil
	}
	return copyFile(resolved, dst)
}

func copyFile(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
