//go:build linux

package vmm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/pci"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Files are what a machine's program opens by name.
type Files struct {
	// Own are the machine's alone: its user owns them. Those that are missing are
	// made, as empty files.
	Own []string
	// Read are shared with other machines, and only read.
	Read []string
	// Opened are shared with other machines too, and are opened for writing by a
	// program that does not mean to write. Nothing holds it back from that.
	Opened []string
}

// Files are those of the spec, for a machine with that directory. readOnly says
// that memory which a fork shares with its template is opened only for reading.
func (s Spec) Files(dir string, readOnly bool) Files {
	f := Files{Own: []string{s.Disk, s.Console}}
	for _, path := range []string{s.Kernel, s.Initrd, s.Seed} {
		if path != "" {
			f.Read = append(f.Read, path)
		}
	}
	for _, address := range s.PCI { // where a program finds a device's group
		f.Read = append(f.Read, pci.SystemDir(address))
	}
	if s.Backing != "" {
		f.Read = append(f.Read, image.Golden{Dir: s.Backing}.Disk())
	}
	if base := filepath.Join(filepath.Dir(s.Disk), baseFile); exists(base) {
		f.Read = append(f.Read, base)
	}
	switch {
	case s.MemoryFile == "":
	case s.MemoryUse != Forked, filepath.Dir(s.MemoryFile) == filepath.Clean(dir):
		f.Own = append(f.Own, s.MemoryFile)
	case readOnly:
		f.Read = append(f.Read, s.MemoryFile)
	default:
		f.Opened = append(f.Opened, s.MemoryFile)
	}
	return f
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// handTo makes the files what their fields say, for a machine of that user.
func (f Files) handTo(user int) error {
	var failed []error
	for _, path := range f.Own {
		failed = append(failed, handOver(path, user))
	}
	for _, path := range f.Read {
		failed = append(failed, share(path, 0o444))
	}
	for _, path := range f.Opened {
		failed = append(failed, share(path, 0o666))
	}
	return errors.Join(failed...)
}

// handOver gives a file, or a directory with all in it, to a user. A program that
// had it before may have left something there that leads elsewhere: that is
// refused. No process of its may be left.
func handOver(path string, user int) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = file.Close()
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("making %s: %w", path, err)
	}
	return filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() && !entry.Type().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a directory: %s", path, entry.Type())
		}
		if err := os.Lchown(path, user, user); err != nil {
			return fmt.Errorf("handing over: %w", err)
		}
		return nil
	})
}

// share lets every user do so much with a file of ours. The directories that it
// is in keep out those who are not given it.
func share(path string, mode fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("sharing a file: %w", err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if owner.Uid != 0 || owner.Gid != 0 {
		if err := os.Chown(path, 0, 0); err != nil {
			return fmt.Errorf("sharing a file: %w", err)
		}
	}
	if info.Mode()&mode == mode {
		return nil
	}
	if err := os.Chmod(path, info.Mode().Perm()|mode); err != nil {
		return fmt.Errorf("sharing a file: %w", err)
	}
	return nil
}
