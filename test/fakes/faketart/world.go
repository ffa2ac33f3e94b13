//go:build linux

package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func home() string { return os.Getenv("TART_HOME") }

// mac is a path in what is this Mac beside Tart's home.
func mac(elements ...string) string {
	dir := os.Getenv("MAYFLY_FAKE_TART")
	if dir == "" {
		panic("MAYFLY_FAKE_TART names no directory")
	}
	return filepath.Join(append([]string{dir}, elements...)...)
}

// failing says whether the test wants something to fail.
func failing(what string) bool {
	_, err := os.Stat(mac("fail", what))
	return err == nil
}

// note adds a byte to the file that makes something fail: tests see how often it
// did.
func note(what string) {
	file, err := os.OpenFile(mac("fail", what), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return // it does not fail, or no longer
	}
	defer file.Close()
	fmt.Fprint(file, ".")
}

// violation writes down what the real Tart lets pass, and nobody should do.
func violation(format string, args ...any) {
	file, err := os.OpenFile(mac("violations"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintf(file, format+"\n", args...)
}

// config is config.json: the keys of the real one that count here, and Serial,
// which it keeps inside others.
type config struct {
	Version       int    `json:"version"`
	OS            string `json:"os"`
	Arch          string `json:"arch"`
	CPUCount      int    `json:"cpuCount"`
	CPUCountMin   int    `json:"cpuCountMin"`
	MemorySize    int64  `json:"memorySize"`
	MemorySizeMin int64  `json:"memorySizeMin"`
	MACAddress    string `json:"macAddress"`
	Serial        string `json:"serial"`
	DiskGB        int    `json:"diskGB"`
}

// vm is a directory of a virtual machine, local or cached.
type vm struct{ dir string }

func local(name string) vm { return vm{filepath.Join(home(), "vms", name)} }

func cached(name string) vm {
	return vm{filepath.Join(home(), "cache", "OCIs", strings.ReplaceAll(name, "/", "_"))}
}

func remote(name string) bool { return strings.Contains(name, "/") }

func (v vm) path(name string) string { return filepath.Join(v.dir, name) }
func (v vm) root() string            { return v.path("disk.img") }

func (v vm) exists() bool { return v.has("config.json") }

func (v vm) has(name string) bool {
	_, err := os.Stat(v.path(name))
	return err == nil
}

func (v vm) read() config {
	text, err := os.ReadFile(v.path("config.json"))
	if err != nil {
		panic(err)
	}
	var c config
	if err := json.Unmarshal(text, &c); err != nil {
		panic(err)
	}
	return c
}

// write keeps the file, on which a lock may lie.
func (v vm) write(c config) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(v.path("config.json"), text, 0o600)
}

// pid is the process that runs the machine, or 0.
func (v vm) pid() int {
	file, err := os.Open(v.path("config.json"))
	if err != nil {
		return 0
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_GETLK, &lock); err != nil || lock.Type == unix.F_UNLCK {
		return 0
	}
	return int(lock.Pid)
}

func (v vm) state() string {
	switch {
	case v.pid() != 0:
		return "running"
	case v.has("state.vzvmsave"):
		return "suspended"
	}
	return "stopped"
}

func machines() []vm {
	var all []vm
	entries, _ := os.ReadDir(filepath.Join(home(), "vms")) // none is none
	for _, entry := range entries {
		if v := local(entry.Name()); v.exists() {
			all = append(all, v)
		}
	}
	return all
}

// find returns a local machine, or the error that Tart has for its absence.
func find(name string) (vm, error) {
	if v := local(name); v.exists() {
		return v, nil
	}
	return vm{}, missing(name)
}

// locked takes turns at Tart's home, as clones do.
func locked(path string, work func() error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	return work()
}

func randomMAC() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails
	parts := []string{"5a"}
	for _, octet := range b {
		parts = append(parts, hex.EncodeToString([]byte{octet}))
	}
	return strings.Join(parts, ":")
}

// address is what the Mac's DHCP server gives a MAC: a loopback address.
func address(macAddress string) (string, error) {
	var given string
	err := locked(mac("leases.lock"), func() error {
		leases := map[string]string{}
		text, err := os.ReadFile(mac("leases"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if len(text) > 0 {
			if err := json.Unmarshal(text, &leases); err != nil {
				return err
			}
		}
		if leases[macAddress] == "" {
			n := len(leases) + 1
			leases[macAddress] = fmt.Sprintf("127.64.%d.%d", n/250, n%250+2)
		}
		given = leases[macAddress]
		if text, err = json.Marshal(leases); err != nil {
			return err
		}
		return os.WriteFile(mac("leases"), text, 0o600)
	})
	return given, err
}
