//go:build linux

package fakeguest

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The systems that a guest can be, as uname has them.
const (
	Darwin  = "Darwin"
	FreeBSD = "FreeBSD"
	Linux   = "Linux"
)

//go:embed stubs
var stubs embed.FS

// Files in the guest's root by which the fakes and the guest talk.
const (
	stubsDir     = "stubs"
	systemFile   = "etc/fake-system"
	passwordFile = "etc/fake-passwords"
	sharesFile   = "run/fake-shares" // the tags that the host offers
	powerFile    = "run/fake-poweroff"
	reloadFile   = "run/fake-reload"
	agentFile    = "etc/fake-agent"
)

// Disk is what a new root has in it.
type Disk struct {
	System string
	// User may become root; it has the password, if that is not empty.
	User, Password string
}

// homes is where a system keeps its users.
var homes = map[string]string{Darwin: "Users", FreeBSD: "home", Linux: "home"}

// Make makes the root of a guest that was never booted.
func (d Disk) Make(root string) error {
	home := "/" + homes[d.System] + "/" + d.User
	text := map[string]string{
		systemFile:            d.System,
		passwordFile:          d.User + ":" + d.Password + "\n",
		"etc/passwd":          "root:x:0:0:root:/root:/bin/sh\n" + d.User + ":x:501:501::" + home + ":/bin/sh\n",
		"etc/group":           "root:x:0:\nwheel:x:0:\nstaff:x:501:\n",
		"etc/hosts":           "127.0.0.1 localhost\n",
		"etc/ssh/sshd_config": "# as the image has it\nUsePAM yes\n",
		"dev/random":          strings.Repeat("0123456789abcdef", 4),
		"dev/urandom":         strings.Repeat("0123456789abcdef", 4),
		"dev/null":            "",
		"dev/zero":            "",
		"etc/machine-id":      "the same in every clone\n",
	}
	for _, dir := range []string{"root", "tmp", "run", "usr", "var/log", "var/db/entropy", "var/db/dhcpclient/leases",
		"etc/sudoers.d", "usr/local/bin", "etc/cloud", "etc/netplan", home} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for name, content := range text {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	if d.System == Linux { // booted by systemd
		if err := os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o755); err != nil {
			return err
		}
	}
	if err := installStubs(root, d.System); err != nil {
		return err
	}
	if err := os.Chown(filepath.Join(root, home), 501, 501); err != nil {
		return err
	}
	return run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(root, "etc/ssh/ssh_host_ed25519_key"))
}

func installStubs(root, system string) error {
	for _, from := range []string{"any", system} {
		entries, err := fs.ReadDir(stubs, "stubs/"+from)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			text, err := stubs.ReadFile("stubs/" + from + "/" + entry.Name())
			if err != nil {
				return err
			}
			path := filepath.Join(root, stubsDir, entry.Name())
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, text, 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

// Clone copies a root, as a clone of a disk would.
func Clone(from, to string) error { return run("cp", "-a", from, to) }

// FirstKey lets a key in, as cloud-init does with the one of its user-data.
func (d Disk) FirstKey(root, line string) error {
	dir := filepath.Join(root, homes[d.System], d.User, ".ssh")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "authorized_keys"), []byte(line), 0o600)
}

// Share offers shares to the guest's next boot, by their tags.
func Share(root string, tags []string) error {
	return os.WriteFile(filepath.Join(root, sharesFile), []byte(strings.Join(tags, "\n")+"\n"), 0o644)
}

// HasAgent tells whether the image has a program that answers the host.
func HasAgent(root string) bool {
	_, err := os.Stat(filepath.Join(root, agentFile))
	return err == nil
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
