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

// memoryDir is where a fork keeps the files of its identity. It is on a tmpfs:
// by emulation the first file that a fork writes to its disk takes a tenth of a
// second, since all of the file system's code then runs for the first time.
const memoryDir = "run/mayfly/files"

// await does in a template what otherwise each of its forks would have to do: it
// sets up the network, and makes the files of an identity links into memoryDir.
// At its end all of that is on the disk, so that no fork has to write it.
func (a *agent) await(common guest.Await) error {
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

// labelsMatter says that SELinux is enforced: it may keep sshd from files that
// are not where its policy expects them.
func (a *agent) labelsMatter() bool {
	enforce, err := os.ReadFile(a.path("sys/fs/selinux/enforce"))
	return err == nil && strings.TrimSpace(string(enforce)) != "0"
}

func (a *agent) moveIdentityToMemory(user string) error {
	jobs, err := a.account(user)
	if err != nil {
		return err
	}
	if err := a.makeSSHDir(jobs); err != nil {
		return err
	}
	hosts, err := a.hosts()
	if err != nil {
		return err
	}
	for _, name := range []string{
		"etc/machine-id", guest.HostsPath, "etc/hostname",
		guest.HostKeyPath, guest.HostKeyPath + ".pub", jobs.authorizedKeys(),
	} {
		if err := a.moveToMemory(name); err != nil {
			return err
		}
	}
	return a.write(guest.HostsPath, hosts, 0o644) // the one file that an identity only adds to
}

// rehearse listens on a port once, so that Go's net package has found out before
// the forks are made what this kernel can do.
func rehearse() error {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening on a port to try it out: %w", err)
	}
	return listener.Close()
}

// moveToMemory replaces a file by a link into memoryDir, where write will put its
// content.
func (a *agent) moveToMemory(name string) error {
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

// place is the path that the content of a file has.
func (a *agent) place(name string) string {
	if a.inMemory[name] {
		return a.path(filepath.Join(memoryDir, name))
	}
	return a.path(name)
}

// haveNetwork sets up the network and fits it to the link, except for what was
// done in the template already.
func (a *agent) haveNetwork(link guest.Link) error {
	if a.networked && link == a.fitted {
		return nil
	}
	if !a.networked {
		if err := a.kernel.SetUpNetwork(); err != nil {
			return err
		}
	}
	if !a.networked || link.Search != a.fitted.Search {
		if err := a.writeResolver(link.Search); err != nil {
			return err
		}
	}
	if err := a.kernel.FitNetwork(link); err != nil {
		return fmt.Errorf("fitting it: %w", err)
	}
	a.networked, a.fitted = true, link
	return nil
}
