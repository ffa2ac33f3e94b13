//go:build linux

package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// systemDirs are where a host keeps programs, libraries and what those read.
var systemDirs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"}

// systemFiles are what the dynamic linker reads besides.
var systemFiles = []string{"/etc/ld.so.cache", "/etc/alternatives"}

// usualDevices are there for every program.
var usualDevices = []string{"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"}

// view is what a confined program sees: nothing but this.
type view struct {
	links       map[string]string // path to target
	read, write []string
	devices     []string
}

// view finds what of the system is there. A link of the host, such as /bin on most,
// is one inside too.
func (c *Confinement) view(program string) (view, error) {
	v := view{links: map[string]string{}, devices: slices.Concat(usualDevices, c.Devices)}
	var dirs []string
	for _, path := range slices.Concat(systemDirs, systemFiles, installation(program)) {
		info, err := os.Lstat(path)
		if err != nil {
			continue // which most hosts lack some of
		}
		if info.Mode()&os.ModeSymlink != 0 && slices.Contains(systemDirs, path) {
			if v.links[path], err = os.Readlink(path); err != nil {
				return view{}, err
			}
			continue
		}
		v.read = append(v.read, path)
		dirs = append(dirs, path)
	}
	for _, path := range slices.Concat(c.Read, c.Write) {
		if dir, found := below(path, dirs); found {
			return view{}, fmt.Errorf("%s lies below %s, which confined programs only read: "+
				"choose another place for it", path, dir)
		}
	}
	v.read, v.write = append(v.read, c.Read...), c.Write
	return v, nil
}

// installation is a program that is not among the system's, with the directories
// beside its own where that is a bin.
func installation(program string) []string {
	if _, found := below(program, systemDirs); found {
		return nil
	}
	paths := []string{program}
	if dir := filepath.Dir(program); filepath.Base(dir) == "bin" && dir != "/bin" {
		for _, beside := range []string{"lib", "lib64", "libexec", "share"} {
			paths = append(paths, filepath.Join(filepath.Dir(dir), beside))
		}
	}
	return paths
}

// A new root is put together in a mount namespace that no one else is in, below
// assembly: a directory that every host has, and below which nothing is that is looked
// for meanwhile. It is a directory of what is mounted there, and not all of it: the
// kernel refuses user namespaces, in which a program has all capabilities, to those
// whose root is not that of their mount namespace.
const (
	assembly = "/proc"
	newRoot  = assembly + room
	room     = "/room"
)

// mount makes the view the root of the thread. Nothing of the host's other mounts is
// left in the thread's mount namespace.
func (v view) mount(user int) error {
	// The thread has a umask of its own since it has its own mounts. It is the
	// program's, once there are directories that its user passes through.
	unix.Umask(0o022)
	defer unix.Umask(0o077)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NOEXEC
	if err := unix.Mount("mayfly", assembly, "tmpfs", flags, "mode=0755,size=1m"); err != nil {
		return fmt.Errorf("mounting a root: %w", err)
	}
	if err := os.Mkdir(newRoot, 0o755); err != nil {
		return fmt.Errorf("making a root: %w", err)
	}
	for path, target := range v.links {
		if err := os.Symlink(target, newRoot+path); err != nil {
			return fmt.Errorf("linking %s: %w", path, err)
		}
	}
	for _, path := range v.devices {
		if err := device(path, user); err != nil {
			return fmt.Errorf("giving a program %s: %w", path, err)
		}
	}
	for _, path := range v.read {
		if err := bind(path, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV); err != nil {
			return fmt.Errorf("giving a program %s to read: %w", path, err)
		}
	}
	for _, path := range v.write {
		if err := bind(path, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC); err != nil {
			return fmt.Errorf("giving a program %s to write: %w", path, err)
		}
	}
	return takeRoot()
}

// takeRoot makes what was assembled the root, and lets go of the old one.
func takeRoot() error {
	err := errors.Join(
		unix.Mount("", assembly, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC, ""),
		unix.Chdir(assembly))
	if err == nil {
		err = unix.PivotRoot(".", ".") // the old root is on top of the new one then
	}
	if err == nil {
		err = unix.Unmount(".", unix.MNT_DETACH)
	}
	if err == nil {
		err = errors.Join(unix.Chroot(room), unix.Chdir("/"))
	}
	if err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	return nil
}

// device makes a node for the user alone: who may open the host's differs from
// host to host. Where no nodes can be made, as in a user namespace, the program
// gets the host's.
func device(path string, user int) error {
	var host unix.Stat_t
	if err := unix.Stat(path, &host); err != nil {
		return err
	}
	inside := newRoot + path
	if err := os.MkdirAll(filepath.Dir(inside), 0o755); err != nil {
		return err
	}
	err := unix.Mknod(inside, host.Mode&unix.S_IFMT|0o600, int(host.Rdev))
	if errors.Is(err, unix.EPERM) {
		return bind(path, 0)
	}
	return errors.Join(err, os.Chown(inside, user, user))
}

// bind mounts a path at the same path inside, without the power of setuid.
func bind(path string, attributes uint64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	inside := newRoot + path
	if info.IsDir() {
		err = os.MkdirAll(inside, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(inside), 0o755); err == nil {
		var file *os.File
		if file, err = os.OpenFile(inside, os.O_CREATE|os.O_RDONLY, 0o600); err == nil {
			err = file.Close()
		}
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(path, inside, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.MountSetattr(unix.AT_FDCWD, inside, unix.AT_RECURSIVE,
		&unix.MountAttr{Attr_set: attributes | unix.MOUNT_ATTR_NOSUID})
}
