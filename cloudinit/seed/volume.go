// Package seed writes what a guest is told into the volume that cloud-init
// looks for: three texts in YAML, always marshalled from types and never from
// templates, and files that are too big for a text, on an ISO 9660 file
// system. What is told is decided elsewhere.
package seed

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit"
)

// Volume is what a seed volume holds.
type Volume struct {
	UserData cloudinit.UserData
	// More is user-data of somebody else, which is merged with UserData; empty is none.
	More     string
	MetaData cloudinit.MetaData
	// Network is left out when it is nil, and the guest then asks DHCP.
	Network *cloudinit.NetworkConfig
	// Files are put beside the texts: name on the volume to path on this host.
	// They keep their permissions.
	Files map[string]string
}

// Write makes the volume in the new file at path, which only its owner can
// read. The directory of path must have room for a second copy when a file
// comes from another file system.
func Write(path string, volume Volume) (err error) {
	work, err := os.MkdirTemp(filepath.Dir(path), ".seed-*")
	if err != nil {
		return fmt.Errorf("making a seed volume: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := volume.stage(work); err != nil {
		return fmt.Errorf("making a seed volume: %w", err)
	}
	if err := writeISO(path, work); err != nil {
		return fmt.Errorf("making the seed volume %s: %w", path, err)
	}
	return nil
}

// stage lays the files out as they will be on the volume.
func (v Volume) stage(dir string) error {
	texts, err := v.texts()
	if err != nil {
		return err
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	for name, path := range v.Files {
		if _, taken := texts[name]; taken || !validName.MatchString(name) {
			return fmt.Errorf("%q cannot be the name of a file on it", name)
		}
		if err := place(path, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("adding %s: %w", name, err)
		}
	}
	return nil
}

// validName are names without a path, of the length and the characters that every
// reader of Rock Ridge takes.
var validName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

func (v Volume) texts() (map[string][]byte, error) {
	user, err := userData(v.UserData)
	if err != nil {
		return nil, err
	}
	if v.More != "" {
		if user, err = combine(user, v.More); err != nil {
			return nil, err
		}
	}
	meta, err := metaData(v.MetaData)
	if err != nil {
		return nil, err
	}
	texts := map[string][]byte{cloudinit.UserDataFile: user, cloudinit.MetaDataFile: meta}
	if v.Network != nil {
		texts[cloudinit.NetworkConfigFile], err = networkConfig(*v.Network)
	}
	return texts, err
}

// place makes dst a hard link to the file src where that is possible, else a
// copy: gitlab-runner has 90 MB.
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

// writeISO makes an ISO 9660 file system of what is in dir.
func writeISO(path, dir string) error {
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	iso, err := iso9660.Create(file.New(out, false), 0, 0, blockSize, dir)
	if err == nil {
		// The standard pads the label with spaces; the library would pad with zeros.
		label := fmt.Sprintf("%-32s", cloudinit.VolumeLabel)
		err = iso.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: label})
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// blockSize is the only one that every reader of ISO 9660 takes.
const blockSize = 2048
