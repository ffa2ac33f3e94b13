//go:build linux

// Command program plays one that a guest has taken over: it tries what its arguments
// say, and prints for each a line of what came of it: the argument, and "ok" or the
// error.
package main

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dialLimit is enough for whatever answers on this host.
const dialLimit = 5 * time.Second

// attempts are what can be tried, by name; the value is what follows the name.
var attempts = map[string]func(value string) error{
	"list":  func(path string) error { _, err := os.ReadDir(path); return err },
	"read":  read,
	"write": write,
	"make":  func(path string) error { return os.WriteFile(path, nil, 0o600) },
	"kill": func(pid string) error {
		n, err := strconv.Atoi(pid)
		if err != nil {
			return err
		}
		return unix.Kill(n, 0)
	},
	"trace": func(pid string) error {
		n, err := strconv.Atoi(pid)
		if err != nil {
			return err
		}
		return unix.PtraceSeize(n)
	},
	"dial":  dial,
	"mount": func(at string) error { return unix.Mount("x", at, "tmpfs", 0, "") },
	"mknod": func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, 1<<8|3) },
	"root":  func(string) error { return unix.Setuid(0) },
	// A copy of id(1) whose owner's user it would take.
	"setuid": setuid,
	"userns": userNamespace,
	"key":    readKey,
	"walk":   walk,
}

func read(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Read(make([]byte, 1))
	if err == io.EOF {
		return nil
	}
	return err
}

func write(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return file.Close()
}

// dial takes network:address.
func dial(value string) error {
	network, address, _ := strings.Cut(value, ":")
	conn, err := net.DialTimeout(network, address, dialLimit)
	if err != nil {
		return err
	}
	return conn.Close()
}

func setuid(path string) error {
	out, err := exec.Command(path, "-u").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if id := strings.TrimSpace(string(out)); id != "0" {
		return fmt.Errorf("still user %s", id)
	}
	return nil
}

// userNamespace starts a program in a user namespace of its own, in which it would have
// all capabilities.
func userNamespace(string) error {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	return cmd.Run()
}

// readKey reads a key of the session keyring.
func readKey(name string) error {
	key, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", name, 0)
	if err != nil {
		return err
	}
	_, err = unix.KeyctlBuffer(unix.KEYCTL_READ, key, make([]byte, 64), 0)
	return err
}

func main() {
	for _, argument := range os.Args[1:] {
		name, value, _ := strings.Cut(argument, "=")
		attempt, ok := attempts[name]
		if !ok { // such as those of the program that it plays
			continue
		}
		result := "ok"
		if err := attempt(value); err != nil {
			result = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(argument, result)
	}
}

// walk prints every file that is there, but for those of the system's directories.
func walk(system string) error {
	return filepath.WalkDir("/", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil, entry.IsDir() && slices.Contains(strings.Split(system, ":"), path):
			return fs.SkipDir
		case !entry.IsDir():
			fmt.Println("sees", path)
		}
		return nil
	})
}
