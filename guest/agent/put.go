//go:build linux

package agent

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// put writes a piece of a file beside its place, and with the last piece puts it there.
func (a *agent) put(p guest.Put) error {
	path := a.path(p.Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	unfinished := path + ".mayfly"
	flags := os.O_WRONLY
	if p.Offset == 0 {
		flags |= os.O_CREATE | os.O_TRUNC
	}
	file, err := os.OpenFile(unfinished, flags, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(p.Data, p.Offset)
	if err == nil && p.Last {
		err = a.finish(file, p.File)
	}
	if err := errors.Join(err, file.Close()); err != nil || !p.Last {
		return err
	}
	return os.Rename(unfinished, path)
}

func (a *agent) finish(file *os.File, as guest.File) error {
	uid, gid, err := owner(as.Owner)
	if err != nil {
		return fmt.Errorf("owner of %s: %w", as.Path, err)
	}
	// The owner comes first: a change of it takes some bits of the mode away.
	return errors.Join(file.Chown(uid, gid), os.Chmod(file.Name(), mode(as.Mode)))
}

// mode is a mode of Go's with the bits of chmod(2).
func mode(bits uint32) os.FileMode {
	m := os.FileMode(bits & 0o777)
	for bit, flag := range map[uint32]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if bits&bit != 0 {
			m |= flag
		}
	}
	return m
}

// owner finds the ids of "user" or "user:group". Without a group it is the user's own.
func owner(text string) (uid, gid int, err error) {
	if text == "" {
		return 0, 0, nil
	}
	name, group, grouped := strings.Cut(text, ":")
	if uid, err = strconv.Atoi(name); err == nil {
		gid = uid
	} else {
		found, err := user.Lookup(name)
		if err != nil {
			return 0, 0, err
		}
		uid, err = strconv.Atoi(found.Uid)
		id, err2 := strconv.Atoi(found.Gid)
		if err := errors.Join(err, err2); err != nil {
			return 0, 0, fmt.Errorf("ids of %s: %w", name, err)
		}
		gid = id
	}
	if !grouped {
		return uid, gid, nil
	}
	if gid, err = strconv.Atoi(group); err == nil {
		return uid, gid, nil
	}
	found, err := user.LookupGroup(group)
	if err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(found.Gid)
	return uid, gid, err
}
