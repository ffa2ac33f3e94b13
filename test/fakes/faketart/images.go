//go:build linux

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

func pull(c call) error {
	name := c.names[0]
	if !remote(name) {
		fmt.Printf("%q is a local image, nothing to pull here!\n", name)
		return nil
	}
	return fetch(c, name)
}

func fetch(c call, name string) error {
	if n, err := strconv.Atoi(c.last("--concurrency", "4")); err != nil || n < 1 {
		return usage("The value for '--concurrency <concurrency>' must be positive")
	}
	from := vm{mac("registry", strings.ReplaceAll(name, "/", "_"))}
	if failing("pull") || !from.exists() {
		return fail("failed to pull %s: the registry answered 404", name)
	}
	if from.has("insecure") && !c.has("--insecure") {
		return fail("failed to pull %s: the certificate is not trusted", name)
	}
	fmt.Printf("pulling %s...\n", name)
	to := cached(name)
	if err := os.RemoveAll(to.dir); err != nil {
		return err
	}
	return copyVM(from, to)
}

func fqn(c call) error {
	v := cached(c.names[0])
	if !v.exists() {
		return missing(c.names[0])
	}
	text, err := os.ReadFile(v.path("disk.img/etc/fake-version"))
	if err != nil {
		text = nil
	}
	repository, _, _ := strings.Cut(c.names[0], ":")
	fmt.Printf("%s@sha256:%x\n", repository, sha256.Sum256(text))
	return nil
}

func clone(c call) error {
	from, to := c.names[0], c.names[1]
	if to == "" || strings.Contains(to, "/") {
		return usage("<new-name> should be a local name")
	}
	return locked(filepath.Join(home(), ".lock"), func() error {
		source := local(from)
		if remote(from) {
			source = cached(from)
			if !source.exists() {
				if err := fetch(c, from); err != nil {
					return err
				}
			}
		}
		if !source.exists() {
			return missing(from)
		}
		if source.pid() != 0 {
			violation("clone of %s, which runs", from)
		}
		if failing("clone") {
			return fail("failed to clone: no space left on device")
		}
		return cloneAs(source, local(to))
	})
}

// cloneAs replaces what is there, as the real one does, without a word.
func cloneAs(source, to vm) error {
	if to.exists() {
		violation("clone over %s, which is %s", filepath.Base(to.dir), to.state())
	}
	config := source.read()
	taken := false
	for _, other := range machines() {
		taken = taken || other.read().MACAddress == config.MACAddress
	}
	temporary := vm{filepath.Join(home(), "tmp", filepath.Base(to.dir))}
	if err := os.RemoveAll(temporary.dir); err != nil {
		return err
	}
	if err := copyVM(source, temporary); err != nil {
		return err
	}
	if taken && !source.has("state.vzvmsave") {
		config.MACAddress = randomMAC()
		if err := temporary.write(config); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(to.dir), 0o700); err != nil {
		return err
	}
	if err := os.RemoveAll(to.dir); err != nil {
		return err
	}
	return os.Rename(temporary.dir, to.dir)
}

func copyVM(from, to vm) error {
	if err := os.MkdirAll(filepath.Dir(to.dir), 0o700); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", from.dir, to.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return os.RemoveAll(to.path("control.sock"))
}

func set(c call) error {
	v, err := find(c.names[0])
	if err != nil {
		return err
	}
	if v.state() != "stopped" {
		violation("set of %s, which is %s", c.names[0], v.state())
	}
	config := v.read()
	if c.has("--cpu") {
		n, err := strconv.Atoi(c.last("--cpu", ""))
		if err != nil || n < 1 {
			return usage("The value '%s' is invalid for '--cpu <cpu>'", c.last("--cpu", ""))
		}
		if n < config.CPUCountMin {
			return fail("LessThanMinimalResources(VM should have %d CPU cores at minimum (requested %d))",
				config.CPUCountMin, n)
		}
		config.CPUCount = n
	}
	if c.has("--memory") {
		n, err := strconv.ParseInt(c.last("--memory", ""), 10, 64)
		if err != nil || n < 1 {
			return usage("The value '%s' is invalid for '--memory <memory>'", c.last("--memory", ""))
		}
		if n<<20 < config.MemorySizeMin {
			return fail("LessThanMinimalResources(VM should have %d bytes of memory at minimum (requested %d))",
				config.MemorySizeMin, n<<20)
		}
		config.MemorySize = n << 20
	}
	if c.has("--disk-size") {
		n, err := strconv.Atoi(c.last("--disk-size", ""))
		if err != nil {
			return usage("The value '%s' is invalid for '--disk-size <disk-size>'", c.last("--disk-size", ""))
		}
		if n < config.DiskGB {
			return fail("new disk size of %d GB should be larger than the current disk size of %d GB", n, config.DiskGB)
		}
		config.DiskGB = n
	}
	if c.has("--random-mac") {
		config.MACAddress = randomMAC()
	}
	if c.has("--random-serial") {
		config.Serial = randomMAC()
	}
	return v.write(config)
}

func rename(c call) error {
	v, err := find(c.names[0])
	if err != nil {
		return err
	}
	if strings.Contains(c.names[1], "/") {
		return usage("<new-name> should be a local name")
	}
	if local(c.names[1]).exists() {
		return fail("failed to rename a non-existent VM to %s: it exists", c.names[1])
	}
	if v.pid() != 0 {
		violation("rename of %s, which runs", c.names[0])
	}
	return os.Rename(v.dir, local(c.names[1]).dir)
}

func remove(c call) error {
	v := local(c.names[0])
	if remote(c.names[0]) {
		v = cached(c.names[0])
	}
	switch {
	case !v.exists():
		return missing(c.names[0])
	case v.pid() != 0:
		return fail("VM %q is running", c.names[0])
	case failing("delete"):
		return fail("failed to delete %s: permission denied", c.names[0])
	}
	return os.RemoveAll(v.dir)
}
