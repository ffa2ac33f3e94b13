//go:build linux

package agent

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// memoryDir is where the files of an identity lie in a fork. It is in memory: by
// emulation the first file that a fork writes to its disk takes it a tenth of a
// second, since all of the file system's code then runs for the first time.
const memoryDir = "run/mayfly/files"

// await does in a template what all its forks would have to do otherwise: it
// sets up the network, and makes the files of the identity to come links to
// memory. It ends with all of it on disk, so that no fork has to write it.
func (a *Agent) await(common guest.Await) error {
	if !a.labelsMatter() {
		if err := a.moveIdentityToMemory(common.User); err != nil {
			return err
		}
	}
	if err := a.haveNetwork(common.Link); err != nil {
		return err
	}
	if err := rehearse(); err != nil {
		return err
	}
	unix.Sync()
	return nil
}

// labelsMatter says that SELinux may keep sshd from files that are not where
// its policy knows them.
func (a *Agent) labelsMatter() bool {
	enforce, err := os.ReadFile(a.path("sys/fs/selinux/enforce"))
	return err == nil && strings.TrimSpace(string(enforce)) != "0"
}

func (a *Agent) moveIdentityToMemory(user string) error {
	jobs, err := a.account(user)
	if err != nil {
		return err
	}
	if err := a.makeSSHDir(jobs); err != nil {
		return err
	}
	for _, name := range []string{
		"etc/machine-id", "etc/hosts", "etc/hostname",
		guest.HostKeyPath, guest.HostKeyPath + ".pub", jobs.authorizedKeys(),
	} {
		if err := a.moveToMemory(name); err != nil {
			return err
		}
	}
	return nil
}

// rehearse has Go's network library find out, once for all forks, what this
// kernel can do.
func rehearse() error {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening on a port of no use: %w", err)
	}
	return listener.Close()
}

// moveToMemory replaces a file by a link to where write will put it.
func (a *Agent) moveToMemory(name string) error {
	target := filepath.Join("/", memoryDir, name)
	if err := os.MkdirAll(filepath.Dir(a.path(target)), 0o755); err != nil {
		return err
	}
	if err := a.link(target, name); err != nil {
		return err
	}
	if a.inMemory == nil {
		a.inMemory = map[string]bool{}
	}
	a.inMemory[name] = true
	return nil
}

// place is where the content of a file is.
func (a *Agent) place(name string) string {
	if a.inMemory[name] {
		return a.path(filepath.Join(memoryDir, name))
	}
	return a.path(name)
}

// haveNetwork sets up the network, but for what was done in the template.
func (a *Agent) haveNetwork(link guest.Link) error {
	if a.networked && link == a.fitted {
		return nil
	}
	if !a.networked {
		if err := a.setUpNetwork(); err != nil {
			return err
		}
	}
	if err := a.Kernel.FitNetwork(link); err != nil {
		return fmt.Errorf("fitting it: %w", err)
	}
	a.networked, a.fitted = true, link
	return nil
}
