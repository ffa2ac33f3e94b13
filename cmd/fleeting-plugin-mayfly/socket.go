package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
)

// Variables of the plugin library, which its client sets.
const (
	socketDirVariable   = "PLUGIN_UNIX_SOCKET_DIR"
	socketGroupVariable = "PLUGIN_UNIX_SOCKET_GROUP"
	protocolsVariable   = "PLUGIN_PROTOCOL_VERSIONS"
)

const (
	// socketDirPrefix begins the names of our directories in that of temporary
	// files, which belongs to everybody.
	socketDirPrefix = "mayfly-socket-"
	// longestSocket is a name as the library gives it.
	longestSocket = "plugin4294967295"
	// socketDirTries bounds how often a plugin makes a directory again that others
	// have removed, which started at the same time.
	socketDirTries = 10
)

// socketDir is where the library puts the socket on which the runner speaks with
// the plugin. The directory is ours, and locked for as long as this process lives,
// so that the next start can tell an orphan: the library removes the socket only
// when it ends in order, and the socket of a plugin process that was killed, or
// whose runner died, looks like any other plugin's.
type socketDir struct {
	path string
	lock *os.File // a garbage collector that closed it would unlock it
}

// ownSocketDir has the library use a directory of our own, and removes those of
// plugin processes that are gone. The plugin serves without one too.
func ownSocketDir(log hclog.Logger) socketDir {
	byHand := os.Getenv(protocolsVariable) == ""
	if byHand || os.Getenv(socketDirVariable) != "" || os.Getenv(socketGroupVariable) != "" {
		return socketDir{} // which a client may have chosen
	}
	sweepSocketDirs(os.TempDir())
	dir, err := makeSocketDir(os.TempDir())
	if err == nil {
		err = os.Setenv(socketDirVariable, dir.path)
	}
	if err != nil {
		log.Warn("the plugin's socket has no directory of its own: it stays when the plugin is killed", "err", err)
	}
	return dir
}

// makeSocketDir makes a directory in base and locks it. Another start may remove it
// in between.
func makeSocketDir(base string) (socketDir, error) {
	for range socketDirTries {
		path, err := os.MkdirTemp(base, socketDirPrefix)
		if err != nil {
			return socketDir{}, err
		}
		if most := len(unix.RawSockaddrUnix{}.Path) - 1; len(filepath.Join(path, longestSocket)) > most {
			err := fmt.Errorf("%s leaves no room for the path of a socket, at most %d bytes", path, most)
			return socketDir{}, errors.Join(err, os.Remove(path))
		}
		lock, err := lockDir(path)
		if lock != nil {
			return socketDir{path, lock}, nil
		}
		_ = os.Remove(path) // most likely gone
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return socketDir{}, err
		}
	}
	return socketDir{}, fmt.Errorf("%s: other plugins swept it away %d times", base, socketDirTries)
}

// remove removes the directory, if there is one, with the sockets in it.
func (d socketDir) remove(log hclog.Logger) {
	if d.lock == nil {
		return
	}
	if err := removeSockets(d.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("removing the directory of the plugin's socket failed", "err", err)
	}
}

// sweepSocketDirs removes directories whose plugin process is gone. What cannot
// be removed, such as another user's, stays.
func sweepSocketDirs(base string) {
	entries, _ := os.ReadDir(base)
	for _, entry := range entries {
		path := filepath.Join(base, entry.Name())
		if !strings.HasPrefix(entry.Name(), socketDirPrefix) {
			continue
		}
		if lock, err := lockDir(path); lock != nil && err == nil {
			_ = removeSockets(path)
			lock.Close()
		}
	}
}

// removeSockets removes a directory that holds nothing but sockets: anything
// else in it is not ours.
func removeSockets(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if entry.Type() == fs.ModeSocket {
			err = errors.Join(err, os.Remove(filepath.Join(dir, entry.Name())))
		}
	}
	return errors.Join(err, os.Remove(dir))
}

// lockDir locks a directory of this user, unless somebody holds it or has
// removed it meanwhile: then there is neither a lock nor an error.
func lockDir(path string) (*os.File, error) {
	dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0) // close-on-exec: a machine outlives us
	if err != nil {
		return nil, err
	}
	locked, err := lockOpen(dir)
	if !locked || err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

func lockOpen(dir *os.File) (bool, error) {
	var found unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &found); err != nil || int(found.Uid) != os.Geteuid() {
		return false, err
	}
	if taken, err := filelock.Try(dir); !taken || err != nil {
		return false, err
	}
	// Who had the lock before may have removed the directory.
	opened, err := dir.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(dir.Name())
	return err == nil && os.SameFile(opened, there), nil
}
